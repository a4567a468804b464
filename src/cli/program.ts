import { Command, CommanderError } from 'commander'
import { FairwayError, messageOf } from '../base/errors.ts'
import { VERSION } from '../base/version.ts'
import { registerApps } from './commands/apps.ts'
import { registerAuth, registerVersion } from './commands/auth.ts'
import { registerCompletion } from './commands/completion.ts'
import { registerConfig } from './commands/config.ts'
import { registerDeploy } from './commands/deploy.ts'
import { registerEgress } from './commands/egress.ts'
import { registerIps } from './commands/ips.ts'
import { registerLogs } from './commands/logs.ts'
import { registerMachine } from './commands/machine.ts'
import { registerOrgs } from './commands/orgs.ts'
import { registerOutbound } from './commands/outbound.ts'
import { registerRegions } from './commands/regions.ts'
import { registerReleases } from './commands/releases.ts'
import { registerRoute } from './commands/route.ts'
import { registerScale } from './commands/scale.ts'
import { registerSecrets } from './commands/secrets.ts'
import { registerStatus } from './commands/status.ts'
import { registerTunnel } from './commands/tunnel.ts'
import { registerWorldCommands } from './commands/world.ts'
import { ApiError, CommandEnd, cancelled, EXIT, exitCodeOf } from './errors.ts'
import type { Io } from './io.ts'
import { withGlobals, withGlobalsBelow } from './options.ts'

const REGISTER = [
  registerDeploy,
  registerStatus,
  registerApps,
  registerIps,
  registerEgress,
  registerOutbound,
  registerLogs,
  registerRoute,
  registerMachine,
  registerScale,
  registerSecrets,
  registerReleases,
  registerConfig,
  registerRegions,
  registerOrgs,
  registerAuth,
  registerVersion,
]

export function buildProgram(io: Io): Command {
  const program = new Command('fairway')
    .description('Addresses, routing and machines for apps, on hosts of your own.')
    .version(VERSION, '-V, --version')
    .enablePositionalOptions()
    .showHelpAfterError('Run it with --help to see what it takes.')
  for (const register of REGISTER) register(program, io)
  withGlobalsBelow(program)
  withGlobals(program)
  // These talk to no API and have flags of their own.
  registerWorldCommands(program)
  registerTunnel(program, io)
  registerCompletion(program, io)
  configure(program, io)
  return program
}

/** Errors and help go through `io`; nothing ends the process on its own. */
function configure(command: Command, io: Io): void {
  command.exitOverride()
  command.configureOutput({
    writeOut: (text) => io.stdout.write(text),
    writeErr: (text) => io.stderr.write(text),
    outputError: (text, write) => write(text.replace(/^error: /, 'Error: ')),
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  })
  for (const child of command.commands) configure(child, io)
}

/** Runs one command line (without node and script) and returns the exit code. */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  try {
    await buildProgram(io).parseAsync([...args], { from: 'user' })
    return EXIT.ok
  } catch (error) {
    // Commander has printed its own; a group without a command shows its help and is an error.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.error
    if (error instanceof CommandEnd) return error.exitCode
    const failure = io.signal.aborted ? cancelled() : error
    printError(failure, io)
    return exitCodeOf(failure)
  }
}

function printError(error: unknown, io: Io): void {
  const label = io.colour ? '\u001b[31mError:\u001b[39m' : 'Error:'
  io.stderr.write(`${label} ${messageOf(error)}\n`)
  if (error instanceof ApiError && error.status >= 500 && error.requestId) {
    io.stderr.write(`(request ${error.requestId})\n`)
  }
  const known = error instanceof FairwayError
  if (!known && error instanceof Error && io.env.FLY_VERBOSE) io.stderr.write(`${error.stack}\n`)
}
