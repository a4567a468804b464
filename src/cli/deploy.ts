import { FairwayError } from '../base/errors.ts'
import { VERSION } from '../base/version.ts'
import { durationMs } from '../model/duration.ts'
import { withProcfile } from '../model/fly-toml/command.ts'
import { ipPlan } from '../model/fly-toml/ip-plan.ts'
import { toMachineConfigs } from '../model/fly-toml/machine-config.ts'
import { problemText } from '../model/fly-toml/problem.ts'
import { releaseMachineConfig } from '../model/fly-toml/release-machine.ts'
import type { AppConfig } from '../model/fly-toml/schema.ts'
import { unsupported, validate } from '../model/fly-toml/validate.ts'
import type { ApiApp, ApiIpAssignment, ApiMachine, ApiRegion } from './api-types.ts'
import { invalidConfig, type LoadedConfig, procfileOf } from './app-config.ts'
import { createApp } from './commands/apps.ts'
import { printEgressAdvice } from './egress-advice.ts'
import { isNotFound, usage } from './errors.ts'
import { resolveImage } from './folder.ts'
import { confirmPurchase } from './ips.ts'
import { noteGone } from './leases.ts'
import { listenAdvice } from './listen-advice.ts'
import { preparedChecks } from './machine-checks.ts'
import { deployedMachines } from './machines.ts'
import { orgOf } from './orgs.ts'
import { minimumWarnings, planSteps } from './plan-steps.ts'
import { runReleaseCommand } from './release-command.ts'
import { beginRelease } from './releases.ts'
import { concluding, rollout } from './rollout.ts'
import type { Session } from './session.ts'
import { type RolloutOptions, STRATEGIES, type Step } from './steps.ts'

export interface DeployOptions {
  readonly ha: boolean
  readonly detach: boolean
  /** What follows is undefined where no flag says it: fly.toml may. */
  readonly waitTimeoutMs: number | undefined
  readonly maxUnavailable: number | undefined
  /** null: the release command may take as long as it wants. */
  readonly releaseTimeoutMs: number | null | undefined
  readonly skipReleaseCommand: boolean
  readonly region: string | undefined
  readonly env: Readonly<Record<string, string>>
  readonly strategy: string | undefined
  readonly flycast: boolean
  readonly publicIps: boolean
  readonly smokeChecks: boolean
  /** An artifact to run again instead of the folder. */
  readonly image: string | undefined
  /** Ids; undefined is all. */
  readonly onlyMachines: readonly string[] | undefined
}

const WAIT_TIMEOUT_MS = 300_000
const RELEASE_TIMEOUT_MS = 300_000

/**
 * Brings the folder of a fly.toml to its app: pack, upload, release command, addresses, machines.
 * Before the release command has succeeded nothing of the app changes but its list of releases.
 */
export async function deploy(given: Session, options: DeployOptions): Promise<void> {
  const loaded = given.config
  if (!loaded) {
    throw usage('No fly.toml here. Give -c with its path, such as -c examples/hello/fly.toml.')
  }
  const session = given.withApp(given.app)
  const strategy = strategyOf(options, loaded.config)
  const checked = checkedConfig(session, loaded, { ...options, strategy })
  const config = withProcfile(checked, procfileOf(loaded.folder))
  // Before anything is sent, so that a missing command is known at once.
  const unpacked = { image: 'unpacked', clientVersion: VERSION }
  toMachineConfigs(config, unpacked)
  releaseMachineConfig(config, unpacked)
  const app = await ensureApp(session)
  const image = await resolveImage(session, options.image ?? loaded.folder)
  const machines = await deployedMachines(session)
  const only = onlyMachines(session, options, strategy, machines)
  const checks = await preparedChecks(session, loaded.folder, config, options.detach)
  const isFirst = app.status === 'pending' && machines.length === 0
  const addresses = isFirst ? await missingAddresses(session, config, options) : []
  const region = await regionFor(session, options.region ?? config.primary_region)
  await printEgressAdvice(session, { strategy })
  const release = await beginRelease(session, { definition: config, image, strategy })
  session.note(`Release v${release.version} of ${session.app}`)
  const input = { image, clientVersion: VERSION, release }
  await concluding(session, release, async () => {
    const job = options.skipReleaseCommand ? undefined : releaseMachineConfig(config, input)
    if (job)
      await runReleaseCommand(session, job, { region, timeoutMs: releaseMs(options, config) })
    await allocate(session, app, addresses)
    const configs = toMachineConfigs(config, input)
    // A release command may take long: these are the machines that there are by now.
    const now = await deployedMachines(session)
    const all = planSteps(configs, now, region, options.ha)
    const steps = only === undefined ? all : all.filter((step) => isOf(step, only))
    for (const id of only ?? []) if (!now.some((one) => one.id === id)) noteGone(session, id)
    for (const line of minimumWarnings(configs, steps)) session.note(line)
    await rollout(session, release, steps, {
      ...rolloutOptions(options, config, strategy),
      machineChecks: (machine) => checks(machine, input),
    })
  })
  await finish(session, { image, release, detached: options.detach })
}

/** Ids of the machines to change; undefined is all, and those that are missing. */
function onlyMachines(
  session: Session,
  { onlyMachines: ids }: DeployOptions,
  strategy: RolloutOptions['strategy'],
  machines: readonly ApiMachine[],
): ReadonlySet<string> | undefined {
  if (ids === undefined) return undefined
  if (strategy === 'bluegreen') {
    throw usage(
      'A bluegreen deploy replaces all machines. Use --strategy rolling with --only-machines.',
    )
  }
  const known = machines.map(({ id }) => id)
  const unknown = ids.find((id) => !known.includes(id))
  if (unknown === undefined) return new Set(ids)
  const fix = known.length > 0 ? `Use some of ${known.join(', ')}.` : 'It has none yet.'
  throw usage(`--only-machines "${unknown}" is no machine of ${session.app}. ${fix}`)
}

const isOf = (step: Step, ids: ReadonlySet<string>): boolean =>
  step.kind === 'update' && ids.has(step.machine.id)

function rolloutOptions(
  options: DeployOptions,
  { deploy }: AppConfig,
  strategy: RolloutOptions['strategy'],
): RolloutOptions {
  const maxUnavailable = options.maxUnavailable ?? deploy?.max_unavailable
  const { detach, smokeChecks } = options
  return {
    ...{ strategy, detach, smokeChecks },
    waitTimeoutMs: options.waitTimeoutMs ?? durationMs(deploy?.wait_timeout, WAIT_TIMEOUT_MS),
    ...(maxUnavailable !== undefined && { maxUnavailable }),
  }
}

const releaseMs = (options: DeployOptions, { deploy }: AppConfig): number | null =>
  options.releaseTimeoutMs === undefined
    ? durationMs(deploy?.release_command_timeout, RELEASE_TIMEOUT_MS)
    : options.releaseTimeoutMs

function strategyOf(options: DeployOptions, config: AppConfig): RolloutOptions['strategy'] {
  const name = options.strategy ?? config.deploy?.strategy
  const strategy = STRATEGIES.find((known) => known === (name?.toLowerCase() ?? 'rolling'))
  if (!strategy) {
    throw new FairwayError(
      'unsupported_strategy',
      `Deploy strategy "${name}" is not there. Use --strategy ${STRATEGIES.join(', ')}.`,
    )
  }
  if ((strategy === 'bluegreen' || strategy === 'canary') && options.detach) {
    throw usage(`A ${strategy} deploy has to wait for the new machines. Leave --detach out.`)
  }
  return strategy
}

/** The config with the flags in it; throws all errors at once, prints the warnings. */
function checkedConfig(session: Session, loaded: LoadedConfig, options: DeployOptions): AppConfig {
  const config: AppConfig = {
    ...loaded.config,
    app: session.app,
    ...(options.region && { primary_region: options.region }),
    ...(Object.keys(options.env).length > 0 && { env: { ...loaded.config.env, ...options.env } }),
  }
  // The flag's strategy has rules as well, but is not what fly.toml says.
  const judged = { ...config, deploy: { ...config.deploy, strategy: options.strategy } }
  const problems = [...validate(judged, loaded.text), ...unsupported(judged)]
  const errors = problems.filter((p) => p.severity === 'error')
  if (errors.length > 0) throw invalidConfig(errors, loaded.name)
  for (const problem of problems) session.note(`Warning: ${problemText(problem, loaded.name)}`)
  return config
}

/** flyctl leaves this to `apps create`; here a first deploy is one command. */
async function ensureApp(session: Session): Promise<ApiApp> {
  try {
    return await session.client.get<ApiApp>(session.appPath())
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
  const org = await orgOf(session)
  await createApp(session, session.app)
  session.note(`Created app ${session.app} in organization ${org.slug}`)
  return session.client.get<ApiApp>(session.appPath())
}

/** I7, I8. What a first deploy allocates; what costs something is asked for here. */
async function missingAddresses(
  session: Session,
  config: AppConfig,
  options: DeployOptions,
): Promise<string[]> {
  const path = session.appPath('ip_assignments')
  const { ips } = await session.client.get<{ ips: readonly ApiIpAssignment[] }>(path)
  const plan = ipPlan(config)
  if (ips.length > 0 || plan.kind === 'none' || !options.publicIps) return []
  if (options.flycast) return ['private_v6']
  if (plan.kind === 'shared') return ['v6', 'shared_v4']
  const hint = ' With --no-public-ips the deploy goes on without addresses.'
  await confirmPurchase(session, ` It is needed for ${plan.reason}.${hint}`)
  return plan.v6 ? ['v6', 'v4'] : ['v4']
}

/** An address that cannot be had is a warning: the deploy goes on without it. */
async function allocate(session: Session, app: ApiApp, types: readonly string[]): Promise<void> {
  const path = session.appPath('ip_assignments')
  for (const type of types) {
    const body = {
      type,
      region: '',
      org_slug: app.organization.slug,
      network: '',
      service_name: '',
    }
    try {
      const { ip } = await session.client.post<ApiIpAssignment>(path, body)
      session.note(`Allocated ${type} ${ip}`)
    } catch (error) {
      if (!(error instanceof FairwayError)) throw error
      session.note(`Warning: no ${type} address: ${error.message}`)
    }
  }
}

async function regionFor(session: Session, wanted: string | undefined): Promise<string> {
  if (wanted) return wanted
  const { Regions, Nearest } = await session.client.get<{
    Regions: readonly ApiRegion[]
    Nearest?: string
  }>('/v1/platform/regions')
  const region = Nearest || Regions[0]?.code
  if (region) return region
  throw usage('There are no regions. Give --region, or add hosts first.')
}

const APP_COMPACT = `query($appName: String!) { appcompact: app(name: $appName) { id name hostname } }`

interface Finished {
  readonly image: string
  readonly release: { readonly id: string; readonly version: number }
  readonly detached: boolean
}

/** Addresses and URLs, or JSON for a program. */
async function finish(session: Session, { image, release, detached }: Finished): Promise<void> {
  const [{ appcompact }, { ips }, machines] = await Promise.all([
    session.client.graphql<{ appcompact: { hostname: string } }>(APP_COMPACT, {
      appName: session.app,
    }),
    session.client.get<{ ips: readonly ApiIpAssignment[] }>(session.appPath('ip_assignments')),
    deployedMachines(session),
  ])
  const served = machines.some((machine) => machine.config.services?.length)
  const relay = session.client.endpoint.appsPort
  const urls = served ? [`http://${appcompact.hostname}/`] : []
  if (served && relay !== undefined) urls.push(`http://${session.app}.localhost:${relay}/`)
  if (session.wantsJson) {
    const addresses = ips.map(({ ip, region, shared }) => ({ ip, region, shared }))
    return session.printJson({ ...release, image_ref: image, addresses, urls })
  }
  const advice = detached ? [] : await Promise.all(machines.map((m) => listenAdvice(session, m)))
  for (const line of new Set(advice)) if (line) session.note(line)
  session.print(`Deployed ${session.app} v${release.version}${detached ? ' (not waited for)' : ''}`)
  for (const { ip, shared } of ips) session.print(`  ${ip}${shared ? ' (shared)' : ''}`)
  for (const url of urls) session.print(`  ${url}`)
}

/** A wait of the command line: seconds, or a duration such as `5m`. */
export function waitTimeout(text: string, flag = '--wait-timeout'): number {
  if (/^\d+$/.test(text)) return Number(text) * 1000
  const ms = durationMs(text, 0)
  if (ms > 0) return ms
  throw usage(`${flag} "${text}" is not a duration. Use seconds or 90s, 5m.`)
}
