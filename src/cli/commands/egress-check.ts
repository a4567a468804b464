import type { Command } from 'commander'
import { FairwayError, messageOf } from '../../base/errors.ts'
import { MachineConfig } from '../../model/machine-config.ts'
import type { EgressCheckResult } from '../../model/wire.ts'
import { type CheckWish, checkEgress, type MachineCheck } from '../egress-api.ts'
import { regionList } from '../egress-words.ts'
import { usage } from '../errors.ts'
import { resolveImage } from '../folder.ts'
import type { Io } from '../io.ts'
import { createMachine, machinePath, sessionOfMachine, waitForState } from '../machines.ts'
import { withExamples } from '../options.ts'
import { plural, table } from '../output.ts'
import { currentRelease } from '../releases.ts'
import { action, type Session } from '../session.ts'

interface CheckFlags {
  readonly machine?: string
  readonly region?: string
  readonly image?: string
}

/** How long a throw-away machine lives when nobody takes it away, and may take to start. */
const LIFE_SECONDS = 120
const START_TIMEOUT_MS = 60_000

export function registerEgressCheck(egress: Command, io: Io): void {
  const command = egress
    .command('check <host:port>')
    .summary('Connect somewhere and show which source address left')
    .description(
      'Connect to a destination from machines of the app, and show which source address left, which ' +
        'one was expected, and how long it took',
    )
    .option('--machine <id>', 'from this machine only (else from each that runs)')
    .option('-r, --region <codes>', 'from a throw-away machine in each of these regions instead')
    .option('--image <folder>', "folder or artifact of the throw-away machine (else the release's)")
    .action(
      action(io, async (session, destination: string, flags: CheckFlags) =>
        check(await sessionOfMachine(session, flags.machine), destination, flags),
      ),
    )
  withExamples(command, [
    ['fairway egress check db.example.com:5432 -a shop', 'from each machine that runs'],
    ['fairway egress check db.example.com:5432 --machine 4e6e2652a0279b', 'from one'],
    ['fairway egress check api.example.com:443 -a shop -r iad,lhr', 'as a new machine would'],
  ])
}

async function check(session: Session, destination: string, flags: CheckFlags): Promise<void> {
  const to = parseDestination(destination)
  if (flags.region !== undefined && flags.machine !== undefined) {
    throw usage('--region and --machine exclude each other. Give one of them.')
  }
  if (flags.image !== undefined && flags.region === undefined) {
    throw usage('--image is for throw-away machines; add --region CODE.')
  }
  const checks =
    flags.region === undefined
      ? await fromMachines(session, { ...to, ...(flags.machine && { machine: flags.machine }) })
      : await fromNew(session, to, regionList(flags.region, '--region'), flags.image)
  if (session.wantsJson) session.printJson(checks)
  else if (checks.some(({ results }) => results)) printChecks(session, checks)
  const bad = checks.flatMap(badOf)
  if (bad.length === 0) return
  throw new FairwayError(
    'egress_check_failed',
    `${plural(bad.length, 'check')} of ${destination} failed:\n${bad.join('\n')}`,
  )
}

/** `host:port`, `[v6]:port`. */
export function parseDestination(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]{1,253})):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match && port >= 1 && port <= 65_535) return { host: (match[1] ?? match[2])!, port }
  throw usage(
    `"${text}" is not HOST:PORT. Write it as db.example.com:5432, 192.0.2.7:443 or [2001:db8::7]:443.`,
  )
}

async function fromMachines(session: Session, wish: CheckWish): Promise<readonly MachineCheck[]> {
  const checking = checkEgress(session, wish)
  const { checks, machines_skipped: skipped } = await session.during('Connecting', checking)
  if (skipped > 0) session.note(`Warning: ${skipped} more machines were not tried; name one.`)
  if (checks.length > 0) return checks
  throw usage(
    `${session.app} has no machine that runs. Start one, or give --region CODE for a throw-away one.`,
  )
}

/** A machine in each region, that lives for the check alone: what a new machine gets. */
async function fromNew(
  session: Session,
  to: { host: string; port: number },
  regions: readonly string[],
  wanted: string | undefined,
): Promise<readonly MachineCheck[]> {
  const image =
    wanted === undefined
      ? (await currentRelease(session))?.imageRef
      : await resolveImage(session, wanted)
  if (!image) {
    throw usage(`${session.app} has no release yet. Deploy it first, or give --image FOLDER.`)
  }
  const all = regions.map((region) => fromOne(session, to, region, image))
  // All of them are waited for, so that no machine is left behind.
  const ended = await Promise.allSettled(all)
  const failed = ended.find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
  return ended.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
}

async function fromOne(
  session: Session,
  to: { host: string; port: number },
  region: string,
  image: string,
): Promise<readonly MachineCheck[]> {
  const config = MachineConfig.parse({
    image,
    init: { exec: ['sleep', String(LIFE_SECONDS)] },
    auto_destroy: true,
    restart: { policy: 'no' },
  })
  const { id, instance_id: instanceId } = await createMachine(session, { config, region })
  try {
    const started = waitForState(session, id, 'started', {
      timeoutMs: START_TIMEOUT_MS,
      instanceId,
    })
    await session.during(`Waiting for machine ${id} in ${region}`, started)
    const checking = checkEgress(session, { ...to, machine: id })
    return (await session.during(`Connecting from ${region}`, checking)).checks
  } finally {
    await destroyThrowAway(session, id)
  }
}

async function destroyThrowAway(session: Session, id: string): Promise<void> {
  const options = { query: { kill: true }, cleanUp: true }
  await session.client.request('DELETE', machinePath(session, id), options).catch((error) => {
    session.note(
      `Warning: throw-away machine ${id} was not destroyed (${messageOf(error)}); ` +
        `it ends by itself within ${LIFE_SECONDS} s.`,
    )
  })
}

function printChecks(session: Session, checks: readonly MachineCheck[]): void {
  session.print(
    table(
      [
        'Machine',
        'Region',
        'Family',
        'Source',
        'Far end saw',
        'Expected',
        'Result',
        'Connect',
        'Host alone',
      ],
      checks.flatMap(({ machine, region, results = [] }) =>
        results.map((result) => [
          machine,
          region,
          `IPv${result.family}`,
          result.source ?? '-',
          result.seenByFarEnd ?? '-',
          result.expected ?? 'any',
          resultText(result),
          msText(result.connectMs),
          msText(result.connectDefaultMs),
        ]),
      ),
    ),
  )
}

const resultText = ({ ok, error }: EgressCheckResult): string =>
  error ? error.reason.replaceAll('_', ' ') : ok === false ? 'WRONG SOURCE' : 'ok'

const msText = (ms: number | null): string => (ms === null ? '-' : `${ms.toFixed(2)} ms`)

/** A name without addresses of one family is nobody's fault as long as the other works. */
function badOf({ machine, ...check }: MachineCheck): string[] {
  const { results } = check
  if (!results) {
    const { error } = check
    return [`machine ${machine}: ${typeof error === 'string' ? error : error.message}`]
  }
  const reached = results.some((result) => result.error === null)
  return results.flatMap((result) => {
    const who = `machine ${machine}, IPv${result.family}`
    if (result.error) {
      return reached && result.error.reason === 'no_address'
        ? []
        : [`${who}: ${result.error.message}`]
    }
    const saw = result.seenByFarEnd ?? result.source
    return result.ok === false ? [`${who}: came from ${saw}, not from ${result.expected}`] : []
  })
}
