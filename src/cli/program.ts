import { Command, CommanderError } from 'commander'
import { FairwayError, messageOf } from '../base/errors.ts'
import { VERSION } from '../base/version.ts'
import { COMMANDS } from './commands.ts'
import { ApiError, CommandEnd, cancelled, EXIT, exitCodeOf } from './errors.ts'
import type { Io } from './io.ts'
import { withGlobals, withGlobalsBelow } from './options.ts'

/**
 * The command line for these arguments. Where they begin with a command's name, the others are not
 * loaded: half of a short command's time would go into that.
 */
export async function buildProgram(io: Io, args: readonly string[] = []): Promise<Command> {
  const program = new Command('fairway')
    .description('Addresses, routing and machines for apps, on hosts of your own.')
    .version(VERSION, '-V, --version')
    .enablePositionalOptions()
    .showHelpAfterError('Run it with --help to see what it takes.')
  const named = COMMANDS.filter(({ names }) => names.includes(args[0] ?? ''))
  const loaded = await Promise.all(
    (named.length > 0 ? named : COMMANDS).map(async ({ load, isOwn }) => ({
      register: await load(),
      isOwn,
    })),
  )
  for (const { register, isOwn } of loaded) if (!isOwn) register(program, io)
  withGlobalsBelow(program)
  withGlobals(program)
  for (const { register, isOwn } of loaded) if (isOwn) register(program, io)
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
    const program = await buildProgram(io, args)
    await program.parseAsync([...args], { from: 'user' })
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
