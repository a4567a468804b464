import type { Command } from 'commander'
import { waitTimeout } from '../deploy.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { keyValues, parseSecretLines } from '../key-values.ts'
import { deployedMachines } from '../machines.ts'
import { ago, plural, table } from '../output.ts'
import { beginRelease, completeRelease, currentRelease } from '../releases.ts'
import { concluding, ofRelease, rollout } from '../rollout.ts'
import { action, type Session } from '../session.ts'
import type { RolloutOptions, Step } from '../steps.ts'

interface ApiSecret {
  readonly name: string
  readonly digest: string
  readonly created_at?: string
  readonly updated_at?: string
}

interface SetFlags {
  readonly stage?: boolean
  readonly detach?: boolean
  readonly waitTimeout: string
}

const STDIN_BYTES_MAX = 1024 * 1024

export function registerSecrets(program: Command, io: Io): void {
  const secrets = program.command('secrets').alias('secret').description('Secrets of an app')
  secrets
    .command('list')
    .alias('ls')
    .description('List names and digests; values never leave the control plane')
    .action(action(io, list))
  const changes = (command: Command) =>
    command
      .option('--stage', 'keep them for the next deploy instead of restarting the machines')
      .option('--detach', 'return without waiting for the machines')
      .option('--wait-timeout <time>', 'how long each machine may take', '5m')
  changes(secrets.command('set <values...>'))
    .description('Set secrets: NAME=VALUE; NAME=- reads the value from stdin')
    .action(
      action(io, async (session, items: string[], flags: SetFlags) =>
        change(session, await withStdin(session, keyValues(items, 'Secret')), flags),
      ),
    )
  changes(secrets.command('import'))
    .description('Set secrets from NAME=VALUE lines on stdin')
    .action(
      action(io, async (session, flags: SetFlags) =>
        change(session, parseSecretLines(await readStdin(session)), flags),
      ),
    )
  changes(secrets.command('unset <names...>'))
    .description('Remove secrets')
    .action(
      action(io, (session, names: string[], flags: SetFlags) =>
        change(session, Object.fromEntries(names.map((name) => [name, null])), flags),
      ),
    )
  changes(secrets.command('deploy'))
    .description('Restart the machines with the secrets that were staged')
    .action(action(io, (session, flags: SetFlags) => deploySecrets(session, flags, undefined)))
}

async function list(session: Session): Promise<void> {
  const [{ secrets }, release] = await Promise.all([
    session.client.get<{ secrets: readonly ApiSecret[] }>(session.appPath('secrets')),
    currentRelease(session),
  ])
  const rows = secrets.map((secret) => ({
    ...secret,
    status: statusOf(secret, release?.createdAt),
  }))
  if (session.wantsJson) {
    return session.printJson(rows.map(({ name, digest, status }) => ({ name, digest, status })))
  }
  if (rows.length === 0) return session.print(`${session.app} has no secrets.`)
  const now = session.io.clock.now()
  session.print(
    table(
      ['Name', 'Digest', 'Status', 'Changed'],
      rows.map((row) => [
        row.status === 'Staged' ? `* ${row.name}` : row.name,
        row.digest,
        row.status,
        ago(changedAt(row), now),
      ]),
    ),
  )
  if (rows.some((row) => row.status === 'Staged')) {
    session.print('* not in the machines yet: `fairway secrets deploy` or the next deploy')
  }
}

const changedAt = (secret: ApiSecret): string => secret.updated_at ?? secret.created_at ?? ''

/** Every release takes the secrets of its time along, so a later change is not in the machines. */
const statusOf = (secret: ApiSecret, releasedAt: string | undefined): 'Deployed' | 'Staged' =>
  releasedAt !== undefined && Date.parse(changedAt(secret)) <= Date.parse(releasedAt)
    ? 'Deployed'
    : 'Staged'

async function change(
  session: Session,
  values: Readonly<Record<string, string | null>>,
  flags: SetFlags,
): Promise<void> {
  if (Object.keys(values).length === 0) throw usage('No secrets given. Use NAME=VALUE.')
  const { version } = await session.client.post<{ version: number }>(session.appPath('secrets'), {
    values,
  })
  if (flags.stage) {
    return session.print(
      'Secrets are staged; `fairway secrets deploy` or the next deploy uses them.',
    )
  }
  await deploySecrets(session, flags, version)
}

/** A release of the same configuration, so that every machine starts with the secrets. */
async function deploySecrets(session: Session, flags: SetFlags, version: number | undefined) {
  const machines = await deployedMachines(session)
  if (machines.length === 0) {
    return session.print('Secrets are staged for the first deploy: the app has no machines.')
  }
  // Only a first deploy that failed leaves its machines: the newest release is what they run then.
  const current = (await completeRelease(session)) ?? (await currentRelease(session))
  const image = current?.imageRef ?? machines[0]!.config.image
  const definition = current?.configDefinition ?? {}
  const release = await beginRelease(session, { definition, image, strategy: 'rolling' })
  const steps = machines.map(
    (machine): Step => ({ kind: 'update', machine, config: ofRelease(machine.config, release) }),
  )
  const options: RolloutOptions = {
    strategy: 'rolling',
    detach: flags.detach ?? false,
    waitTimeoutMs: waitTimeout(flags.waitTimeout),
    smokeChecks: true,
    ...(version !== undefined && { minSecretsVersion: version }),
  }
  await concluding(session, release, () => rollout(session, release, steps, options))
  session.print(`Secrets are deployed to ${plural(machines.length, 'machine')} of ${session.app}`)
}

async function withStdin(
  session: Session,
  values: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const fromStdin = Object.keys(values).filter((name) => values[name] === '-')
  if (fromStdin.length === 0) return values
  if (fromStdin.length > 1) throw usage('Only one secret can come from stdin; use secrets import.')
  return { ...values, [fromStdin[0]!]: (await readStdin(session)).replace(/\n$/, '') }
}

async function readStdin(session: Session): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of session.io.stdin) {
    const buffer = Buffer.from(chunk as Uint8Array)
    bytes += buffer.length
    if (bytes > STDIN_BYTES_MAX) throw usage(`stdin is larger than ${STDIN_BYTES_MAX} bytes.`)
    chunks.push(buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}
