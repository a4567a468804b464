import type { Command, Option } from 'commander'
import {
  EXEC_STDIN_BYTES_MAX,
  EXEC_TIMEOUT_MAX_MS,
  type ExecEnd,
  type ExecLine,
} from '../../model/wire.ts'
import { ApiError, CommandEnd, deadline, usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { machinePath, sessionOfMachine } from '../machines.ts'
import { action, type Session } from '../session.ts'

interface ExecFlags {
  readonly timeout?: string
  readonly stdin?: boolean
}

export function registerMachineExec(machine: Command, io: Io): void {
  const command = machine
    .command('exec <id> <command...>')
    .description('Run a command inside a machine; ends with its exit code')
    .option('--timeout <seconds>', 'kill it after so long (default: 60)')
    .option('-i, --stdin', 'give the command what comes on standard input')
    .action(
      action(io, async (session, id: string, command: string[], flags: ExecFlags) =>
        exec(await sessionOfMachine(session, id), { id, command, flags }),
      ),
    )
  const parse = command.parseOptions.bind(command)
  command.parseOptions = (argv) => parse(endOfFlags(command.options, argv))
}

/**
 * What follows a command of one word is the command's own, as if `--` stood before it. A whole line is
 * one argument, as flyctl takes it, and has flags on either side.
 */
function endOfFlags(options: readonly Option[], argv: readonly string[]): string[] {
  let operands = 0
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!
    if (word === '--') break
    if (word.startsWith('-')) {
      const takesNext = options.some(
        ({ required, short, long }) => required && (short === word || long === word),
      )
      if (takesNext) at++
    } else if (++operands === 2) {
      return /\s/.test(word) ? [...argv] : [...argv.slice(0, at), '--', ...argv.slice(at)]
    }
  }
  return [...argv]
}

interface ExecInput {
  readonly id: string
  readonly command: readonly string[]
  readonly flags: ExecFlags
}

async function exec(session: Session, { id, command, flags }: ExecInput): Promise<void> {
  const [first = '', ...others] = command
  const body = {
    // One argument is a line, as flyctl takes it.
    ...(others.length > 0 ? { command: [first, ...others] } : { cmd: first }),
    ...(flags.timeout !== undefined && { timeout: secondsOf(flags.timeout) }),
    ...(flags.stdin && { stdin: await readStdin(session.io) }),
  }
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  const path = machinePath(session, id, 'exec')
  for await (const text of session.client.lines(path, {}, { body })) {
    const line = JSON.parse(text) as ExecLine
    if (line.t === 'exit') return ended(session, line, output)
    const bytes = Buffer.from(line.data, 'base64')
    if (session.wantsJson) output[line.t].push(bytes)
    else session.io[line.t].write(bytes)
  }
  throw new ApiError(`The answer ended before the command in machine ${id}.`, { status: 502 })
}

function ended(
  session: Session,
  { code, signal, error, message = '' }: ExecEnd,
  output: Readonly<Record<'stdout' | 'stderr', readonly Buffer[]>>,
): void {
  if (error === 'exec_timeout') throw deadline(sentence(message))
  if (error && error !== 'command_not_found')
    throw new ApiError(sentence(message), { status: 422, code: error })
  if (session.wantsJson) {
    const text = (parts: readonly Buffer[]) => Buffer.concat(parts).toString('utf8')
    session.printJson({
      ...{ exit_code: code, exit_signal: signal },
      ...{ stdout: text(output.stdout), stderr: text(output.stderr) },
      ...(error && { error: message }),
    })
  } else if (error) session.note(`Error: ${sentence(message)}`)
  if (code !== 0) throw new CommandEnd(code)
}

const sentence = (message: string): string =>
  `${message.charAt(0).toUpperCase()}${message.slice(1)}.`

function secondsOf(text: string): number {
  const seconds = Number(/^(\d+)s?$/.exec(text)?.[1] ?? Number.NaN)
  if (seconds >= 1 && seconds * 1_000 <= EXEC_TIMEOUT_MAX_MS) return seconds
  throw usage(
    `--timeout "${text}" is no number of seconds from 1 to ${EXEC_TIMEOUT_MAX_MS / 1_000}.`,
  )
}

async function readStdin(io: Io): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of io.stdin) {
    const part = Buffer.from(chunk)
    bytes += part.length
    if (bytes > EXEC_STDIN_BYTES_MAX)
      throw usage(`Standard input is longer than ${EXEC_STDIN_BYTES_MAX} bytes.`)
    chunks.push(part)
  }
  return Buffer.concat(chunks).toString('utf8')
}
