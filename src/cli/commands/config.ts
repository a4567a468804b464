import type { Command } from 'commander'
import { problemText } from '../../model/fly-toml/problem.ts'
import { unsupported, validate } from '../../model/fly-toml/validate.ts'
import { invalidConfig, loadConfig } from '../app-config.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { plural, table } from '../output.ts'
import { currentRelease } from '../releases.ts'
import { action, type Session } from '../session.ts'

export function registerConfig(program: Command, io: Io): void {
  const config = program.command('config').description("An app's fly.toml")
  config
    .command('validate')
    .description('Say what is wrong with a fly.toml; no network needed')
    .option('--strict', 'unknown keys are errors')
    .action(action(io, (session, flags: { strict?: boolean }) => check(session, flags.strict)))
  config
    .command('show')
    .alias('display')
    .description('Show the configuration of the current release, as JSON')
    .option('--local', 'show that of the fly.toml here')
    .action(action(io, (session, flags: { local?: boolean }) => show(session, flags.local)))
  config
    .command('env')
    .description("Show the variables of an app's configuration, and the names of its secrets")
    .action(action(io, env))
}

function check(session: Session, strict = false): void {
  const found = session.config
  if (!found) throw usage('No fly.toml here. Give -c with its path.')
  const loaded = strict ? loadConfig(found.path, found.name, true) : found
  const problems = validate(loaded.config, loaded.text)
  const later = unsupported(loaded.config)
  const errors = problems.filter((problem) => problem.severity === 'error')
  const warnings = [...problems.filter((problem) => problem.severity === 'warning'), ...later]
  if (session.wantsJson) {
    session.printJson({ valid: errors.length === 0, errors, warnings })
    if (errors.length > 0) throw invalidConfig(errors, loaded.name)
    return
  }
  for (const problem of warnings) session.note(`Warning: ${problemText(problem, loaded.name)}`)
  if (errors.length > 0) throw invalidConfig(errors, loaded.name)
  const tail = warnings.length > 0 ? ` (${plural(warnings.length, 'warning')})` : ''
  session.print(`Configuration is valid: ${loaded.name}${tail}`)
}

async function released(session: Session): Promise<Record<string, unknown>> {
  const release = await currentRelease(session)
  if (release?.configDefinition) return release.configDefinition
  throw usage(`${session.app} has no release yet. --local shows the fly.toml here.`)
}

async function show(session: Session, local = false): Promise<void> {
  if (!local) return session.printJson(await released(session))
  if (!session.config) throw usage('No fly.toml here. Give -c with its path.')
  session.printJson(session.config.config)
}

async function env(session: Session): Promise<void> {
  const [definition, { secrets }] = await Promise.all([
    released(session),
    session.client.get<{ secrets: readonly { name: string; digest: string }[] }>(
      session.appPath('secrets'),
    ),
  ])
  const variables = (definition.env ?? {}) as Record<string, string>
  if (session.wantsJson) {
    return session.printJson({ env: variables, secrets: secrets.map((secret) => secret.name) })
  }
  session.print('Secrets')
  session.print(
    table(
      ['Name', 'Digest'],
      secrets.map((s) => [s.name, s.digest]),
    ),
  )
  session.print('Environment variables')
  session.print(table(['Name', 'Value'], Object.entries(variables)))
}
