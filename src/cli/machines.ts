import { RELEASE_GROUP } from '../model/fly-toml/release-machine.ts'
import { TEST_GROUP } from '../model/fly-toml/test-machine.ts'
import type { MachineConfig } from '../model/machine-config.ts'
import type { ExitEvent, MachineState } from '../model/resources.ts'
import { type ApiMachine, groupOf } from './api-types.ts'
import { ApiError, deadline, isNotFound, usage } from './errors.ts'
import type { Session } from './session.ts'

/** What several commands do with machines. */

/** One `wait`; between two of them the CLI looks whether the machine crashed. */
const WAIT_SECONDS_MAX = 10
const CHECK_POLL_MS = 500
/** So many restarts without being asked for are a crash loop (flyctl-api 6.7, step 14). */
const CRASHES_MAX = 1
export const WAIT_TIMEOUT_MS = 300_000
export const GONE: ReadonlySet<MachineState> = new Set(['destroying', 'destroyed'])

/** `cleanUp`: also when the person has interrupted. */
interface Tidying {
  readonly cleanUp?: boolean
}

export const listMachines = (session: Session, options: Tidying = {}): Promise<ApiMachine[]> =>
  session.client.request<ApiMachine[]>('GET', session.appPath('machines'), options)

/** Groups of machines that a deploy makes for itself. */
const JOB_GROUPS: ReadonlySet<string> = new Set([RELEASE_GROUP, TEST_GROUP])

/** Machines of the app's process groups that are not on their way out. */
export async function deployedMachines(session: Session): Promise<ApiMachine[]> {
  const machines = await listMachines(session)
  return machines.filter((machine) => {
    const group = groupOf(machine)
    return group !== undefined && !JOB_GROUPS.has(group) && !GONE.has(machine.state)
  })
}

export const machinePath = (session: Session, id: string, ...rest: readonly string[]): string =>
  session.appPath('machines', id, ...rest)

export const getMachine = (session: Session, id: string): Promise<ApiMachine> =>
  session.client.get<ApiMachine>(machinePath(session, id))

export interface Launch {
  readonly config: MachineConfig
  readonly region?: string
  readonly name?: string
  readonly skipLaunch?: boolean
  /** It gets no traffic before somebody uncordons it. */
  readonly skipServiceRegistration?: boolean
  readonly minSecretsVersion?: number
}

const launchBody = (launch: Launch) => ({
  config: launch.config,
  region: launch.region,
  name: launch.name,
  skip_launch: launch.skipLaunch,
  skip_service_registration: launch.skipServiceRegistration,
  skip_secrets: false,
  min_secrets_version: launch.minSecretsVersion,
})

export const createMachine = (session: Session, launch: Launch): Promise<ApiMachine> =>
  session.client.post<ApiMachine>(session.appPath('machines'), launchBody(launch))

export const updateMachine = (
  session: Session,
  id: string,
  launch: Launch,
  headers: Readonly<Record<string, string>>,
  options: Tidying = {},
): Promise<ApiMachine> =>
  session.client.post<ApiMachine>(machinePath(session, id), launchBody(launch), {
    ...{ headers, ...options },
  })

async function endedWell(session: Session, id: string): Promise<boolean> {
  const machine = await getMachine(session, id)
  assertAlive(machine)
  return ownExit(machine) !== undefined
}

export interface WaitOptions {
  readonly timeoutMs: number
  readonly instanceId?: string
}

/** Waits until the machine is in `state` (`settled`: at rest); `deadline` when it takes too long. */
export async function waitForState(
  session: Session,
  id: string,
  state: MachineState | 'settled',
  options: WaitOptions,
): Promise<void> {
  const endMs = session.io.clock.now() + options.timeoutMs
  for (;;) {
    const leftMs = endMs - session.io.clock.now()
    if (leftMs <= 0) {
      const { state: now } = await getMachine(session, id)
      throw deadline(`Machine ${id} is ${now}, not ${state}, after ${options.timeoutMs / 1000} s.`)
    }
    const timeout = Math.max(1, Math.min(WAIT_SECONDS_MAX, Math.ceil(leftMs / 1000)))
    try {
      await session.client.get(machinePath(session, id, 'wait'), {
        state,
        timeout,
        version: options.instanceId,
      })
      return
    } catch (error) {
      if (state === 'destroyed' && isNotFound(error)) return
      if (!(error instanceof ApiError) || error.status !== 408) throw error
      if (state === 'started' && (await endedWell(session, id))) return
    }
  }
}

/** Waits until every check passes; at once when the machine has none. */
export async function waitForChecks(
  session: Session,
  id: string,
  timeoutMs: number,
): Promise<void> {
  const endMs = session.io.clock.now() + timeoutMs
  for (;;) {
    const machine = await getMachine(session, id)
    assertAlive(machine)
    const checks = machine.checks ?? []
    if (checkCount(machine.config) === 0) return
    const failing = checks.filter((check) => check.status !== 'passing')
    if (checks.length > 0 && failing.length === 0) return
    if (session.io.clock.now() >= endMs) throw checksLate(id, failing, timeoutMs)
    await session.io.clock.sleep(CHECK_POLL_MS, session.io.signal)
  }
}

const checkCount = (config: MachineConfig): number =>
  Object.keys(config.checks ?? {}).length +
  (config.services ?? []).reduce((sum, service) => sum + (service.checks?.length ?? 0), 0)

function checksLate(id: string, failing: readonly { name: string; output: string }[], ms: number) {
  const list = failing.map((c) => `${c.name}: ${c.output || 'no answer yet'}`).join('; ')
  return deadline(
    `Machine ${id}: checks do not pass after ${ms / 1000} s (${list || 'none has run'}). ` +
      `See \`fairway logs -i ${id}\`, or give more time with --wait-timeout.`,
  )
}

/** Events that say whether the machine's process runs; the newest of them counts. */
const LIFE = new Set(['exit', 'start', 'launch', 'update', 'restart', 'stop'])

/** The end of the process, if it ended without being asked to and nothing came after that. */
export function ownExit(machine: ApiMachine): ExitEvent | undefined {
  const newest = machine.events?.find((event) => LIFE.has(event.type))
  const exit = newest?.type === 'exit' ? newest.request?.exit_event : undefined
  if (!exit || exit.requested_stop) return undefined
  const restarts = newest?.request?.restart_count ?? 0
  return exit.restarting && restarts <= CRASHES_MAX ? undefined : exit
}

/**
 * Throws when the machine will not come up by itself. A process without services may end with 0: it
 * has done its work.
 */
export function assertAlive(machine: ApiMachine): void {
  const exit = ownExit(machine)
  if (exit?.exit_code === 0 && !machine.config.services?.length) return
  if (!exit && machine.state !== 'failed') return
  const how = exit ? `exited with code ${exit.exit_code}` : 'failed to start'
  const oom = exit?.oom_killed ? ' (out of memory: give it more with [[vm]] memory)' : ''
  throw new ApiError(
    `Machine ${machine.id} ${how}${oom}. See \`fairway logs -i ${machine.id} --no-tail\`.`,
    { status: 422, code: 'machine_crashed' },
  )
}

const GET_MACHINE =
  'query($machineId: String!) { gqlmachine: machine(machineId: $machineId) { id app { name } } }'

/** The session for a machine's commands: without an app named, the machine's own. */
export async function sessionOfMachine(session: Session, id: string | undefined): Promise<Session> {
  if (session.appIfAny !== undefined || id === undefined) return session
  const { gqlmachine } = await session.client.graphql<{
    gqlmachine: { app: { name: string } } | null
  }>(GET_MACHINE, { machineId: id })
  if (!gqlmachine)
    throw usage(`Machine ${id} was not found. \`fairway machine list -a APP\` has the ids.`)
  return session.withApp(gqlmachine.app.name)
}
