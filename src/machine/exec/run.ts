import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { type PipedCommand, startPiped } from '../../kernel/piped.ts'
import { killTree } from '../../kernel/process-tree.ts'
import type { AgentCall, ExecEnd, ExecError, ExecLine } from '../../model/wire.ts'
import type { OciConfig } from '../bundle.ts'
import { runtimeMessage } from '../conmon.ts'
import { Wake } from '../wake.ts'
import { hasBegun, readStatus, wrapped } from './wrapper.ts'

export type ExecCall = Extract<AgentCall, { method: 'exec' }>

export interface ExecPlace {
  /** The runtime's command, up to its subcommand. */
  readonly runc: readonly string[]
  /** The machine's folder. */
  readonly folder: string
  readonly clock: Clock
}

/** Bytes of one line; its base64 is a third longer. */
const CHUNK_BYTES_MAX = 64 * 1024
/**
 * How long runc may take to pass on what the command wrote last. Waited for in full only when a
 * process that was left behind holds the command's streams, which then do not end.
 */
const DRAIN_MS = 2_000
const NOTES_BYTES_MAX = 16 * 1024
/** How long the runtime may take to make the command's process. */
const BEGIN_MS_MAX = 15_000
const PID_POLL_MS = 10
const SIGKILL = 9

/**
 * Runs a command inside a machine that runs, as its user, with its environment, in its namespaces
 * and under its filter of system calls. Yields output as it comes, then one `exit`. The command and
 * all that it started are killed at the time-out, and when `signal` fires or the reader leaves.
 * Processes that it left behind on purpose live on when it ends by itself.
 */
export async function* execInMachine(
  place: ExecPlace,
  call: ExecCall,
  signal: AbortSignal,
): AsyncGenerator<ExecLine> {
  const run = new ExecRun(place, call)
  const leave = () => run.kill()
  signal.addEventListener('abort', leave, { once: true })
  try {
    if (signal.aborted) return
    await run.begin()
    yield* run.lines()
  } catch (error) {
    yield failed('exec_failed', `the command could not be run: ${messageOf(error)}`)
  } finally {
    signal.removeEventListener('abort', leave)
    await run.close()
  }
}

/** An end that is not the command's own. */
export const failed = (error: ExecError, message: string, code = 1): ExecEnd => ({
  ...{ t: 'exit', code, signal: 0, error, message },
})

class ExecRun {
  readonly #place: ExecPlace
  readonly #call: ExecCall
  readonly #wake: Wake
  readonly #over = new AbortController()
  readonly #name: string
  #command: PipedCommand | undefined
  #notes = ''
  #notesEnded = false
  /** What came on stderr before it was known whether runc or the command speaks there. */
  #held: Buffer[] = []
  #spawnError = ''
  #timedOut = false
  #killing: Promise<void> | undefined

  constructor(place: ExecPlace, call: ExecCall) {
    this.#place = place
    this.#call = call
    this.#wake = new Wake(place.clock)
    this.#name = join(place.folder, `exec-${randomBytes(6).toString('hex')}`)
  }

  get #specPath(): string {
    return `${this.#name}.json`
  }
  get #pidPath(): string {
    return `${this.#name}.pid`
  }

  async begin(): Promise<void> {
    const { runc, folder, clock } = this.#place
    const { command, machine, stdin, timeoutMs } = this.#call
    const config = JSON.parse(
      await readFile(join(folder, 'bundle', 'config.json'), 'utf8'),
    ) as OciConfig
    // A file, since the environment holds secrets, which an argument list would show.
    const spec = { ...config.process, args: wrapped(command) }
    await writeFile(this.#specPath, JSON.stringify(spec), { mode: 0o600, flag: 'wx' })
    const argv = [
      ...[...runc, 'exec', '--process', this.#specPath, '--pid-file', this.#pidPath],
      ...['--preserve-fds', '1', machine],
    ]
    const running = startPiped(argv, (error) => {
      if (error) this.#spawnError = error.message
      this.#wake.now()
    })
    this.#command = running
    this.#watchNotes(running.notes)
    for (const stream of [running.stdout, running.stderr]) {
      stream.on('readable', () => this.#wake.now())
      stream.on('close', () => this.#wake.now())
    }
    running.stdin.end(stdin)
    clock.sleep(timeoutMs, this.#over.signal).then(
      () => {
        this.#timedOut = !this.#ended
        this.kill()
      },
      () => {}, // It ended in time.
    )
  }

  #watchNotes(notes: Readable): void {
    notes.setEncoding('utf8').on('data', (text: string) => {
      if (this.#notes.length < NOTES_BYTES_MAX) this.#notes += text
      if (readStatus(this.#notes)) this.#wake.now()
    })
    notes.on('close', () => {
      this.#notesEnded = true
      this.#wake.now()
    })
  }

  /** Output, then the end. Reads no faster than it is read from. */
  async *lines(): AsyncGenerator<ExecLine> {
    const { stdout, stderr } = this.#command!
    for (;;) {
      const out = takeChunk(stdout)
      if (out) yield { t: 'stdout', data: out.toString('base64') }
      const err = takeChunk(stderr)
      if (err) this.#held.push(err)
      if (hasBegun(this.#notes)) yield* this.#takeHeld()
      if (out || err) continue
      if (isDone(stdout) && isDone(stderr) && this.#ended) break
      if (!this.#ended) await this.#wake.wait()
      // Somebody else may hold the streams for ever; what the command wrote is in them by now.
      else if (await this.#isQuiet()) break
    }
    yield this.#end()
  }

  *#takeHeld(): Generator<ExecLine> {
    const held = this.#held
    this.#held = []
    for (const bytes of held) yield { t: 'stderr', data: bytes.toString('base64') }
  }

  /** The command has ended, or its process never began. */
  get #ended(): boolean {
    return this.#notesEnded || readStatus(this.#notes) !== undefined
  }

  async #isQuiet(): Promise<boolean> {
    const { clock } = this.#place
    const untilMs = clock.now() + DRAIN_MS
    const { stdout, stderr } = this.#command!
    while (clock.now() < untilMs && !(isDone(stdout) && isDone(stderr))) {
      await this.#wake.sleep(untilMs - clock.now())
      if (stdout.readableLength > 0 || stderr.readableLength > 0) return false
    }
    return true
  }

  #end(): ExecEnd {
    const { timeoutMs, command, machine } = this.#call
    if (this.#timedOut) {
      const message = `the command was still running after ${timeoutMs / 1000} s and was killed; give it more time with timeout (--timeout)`
      return { ...failed('exec_timeout', message, 128 + SIGKILL), signal: SIGKILL }
    }
    const status = readStatus(this.#notes)
    if (status && !status.found) {
      const message = `command not found in machine ${machine}: ${command[0]}`
      return failed('command_not_found', message, status.code)
    }
    if (status) return { t: 'exit', code: status.code, signal: status.signal }
    if (!hasBegun(this.#notes)) {
      const stderr = Buffer.concat(this.#held).toString('utf8')
      const said = this.#spawnError || runtimeMessage(stderr) || 'the runtime gave no reason'
      return failed('exec_failed', `the command could not be run: ${said.slice(0, 512)}`)
    }
    const message = `machine ${machine} stopped while the command ran`
    return { ...failed('machine_stopped', message, 128 + SIGKILL), signal: SIGKILL }
  }

  kill(): void {
    if (!this.#ended) this.#killing ??= this.#killAll()
  }

  async #killAll(): Promise<void> {
    const { clock } = this.#place
    const untilMs = clock.now() + BEGIN_MS_MAX
    for (;;) {
      const pid = await this.#pid()
      if (pid !== undefined) {
        killTree(pid)
        break
      }
      if (!this.#command || this.#command.over || clock.now() > untilMs) break
      await clock.sleep(PID_POLL_MS)
    }
    this.#command?.close()
  }

  /** As the host counts processes; undefined while there is none. */
  async #pid(): Promise<number | undefined> {
    const pid = Number(await readFile(this.#pidPath, 'utf8').catch(() => ''))
    return pid > 1 ? pid : undefined
  }

  async close(): Promise<void> {
    this.#over.abort()
    if (this.#command) this.kill()
    await this.#killing
    this.#command?.close()
    await Promise.all([this.#specPath, this.#pidPath].map((path) => rm(path, { force: true })))
  }
}

const isDone = (stream: Readable): boolean =>
  stream.readableEnded || stream.destroyed || stream.closed

function takeChunk(stream: Readable): Buffer | undefined {
  const available = stream.readableLength
  const chunk: unknown = stream.read(available > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : undefined)
  return chunk instanceof Buffer && chunk.length > 0 ? chunk : undefined
}
