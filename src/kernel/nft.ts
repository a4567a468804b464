import { type ChildProcess, spawn } from 'node:child_process'
import type { Logger } from '../base/log.ts'
import type { Exec } from './exec.ts'

/** One file is one kernel transaction: all of it takes effect, or nothing. */
export const applyRuleset = async (exec: Exec, ruleset: string): Promise<void> => {
  await exec.run(['nft', '-f', '-'], { stdin: ruleset })
}

/** What nft said about a transaction that the kernel refused; nothing of it took effect. */
export class NftError extends Error {
  readonly code: 'nft_refused' | 'nft_overload' | 'nft_lost' | 'nft_closed'
  constructor(code: NftError['code'], message: string) {
    super(message)
    this.name = 'NftError'
    this.code = code
  }
}

/** A long-lived `nft -i`: a change takes half a millisecond instead of a fork of ten. */
export interface NftSession {
  /**
   * Applies commands, separated by `;`, as one transaction. They must be repeatable (add what may
   * be there, or add and then delete): when nft dies they are sent once more to its successor.
   */
  transact(commands: string): Promise<void>
  close(): void
}

export interface NftSessionOptions {
  readonly log: Logger
  /** Stands in front of `nft`; for tests which work in another namespace. */
  readonly prefix?: readonly string[]
  readonly timeoutMs?: number
  /** Transactions that may wait at once. */
  readonly queueMax?: number
}

const QUEUE_MAX = 4_096
const LINE_BYTES_MAX = 1024 * 1024
const OUTPUT_CHARS_MAX = 64 * 1024
const TIMEOUT_MS = 5_000
/** Asks nothing of the kernel, and its answer cannot occur in an error. */
const ACK_COMMAND = 'describe ip saddr'
const ACK_ANSWER = 'payload expression, datatype ipv4_addr'

interface Pending {
  readonly commands: string
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  attempts: number
  output: string
}

export function openNftSession(options: NftSessionOptions): NftSession {
  return new InteractiveNft(options)
}

class InteractiveNft implements NftSession {
  readonly #options: NftSessionOptions
  /** In the order in which nft will answer. */
  #pending: Pending[] = []
  #child: ChildProcess | undefined
  #partial = ''
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: NftSessionOptions) {
    this.#options = options
  }

  transact(commands: string): Promise<void> {
    const { queueMax = QUEUE_MAX } = this.#options
    if (this.#closed) return Promise.reject(new NftError('nft_closed', 'the session is closed'))
    if (/[\n\r\\]/.test(commands) || Buffer.byteLength(commands) > LINE_BYTES_MAX)
      return Promise.reject(
        new NftError('nft_refused', `a transaction is one line of at most ${LINE_BYTES_MAX} bytes`),
      )
    if (this.#pending.length >= queueMax)
      return Promise.reject(
        new NftError('nft_overload', `${queueMax} transactions wait for nft already; try again`),
      )
    return new Promise((resolve, reject) => {
      const pending = { commands, resolve, reject, attempts: 0, output: '' }
      this.#pending.push(pending)
      this.#send(pending)
    })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    const child = this.#child
    this.#child = undefined
    child?.stdin?.end()
    child?.kill()
    for (const p of this.#pending.splice(0))
      p.reject(new NftError('nft_closed', 'the session was closed before nft had answered'))
  }

  #send(pending: Pending): void {
    pending.attempts += 1
    pending.output = ''
    const child = this.#child ?? this.#spawn()
    child.stdin!.write(`${pending.commands}\n${ACK_COMMAND}\n`)
    if (this.#pending[0] === pending) this.#watch()
  }

  /** Errors come on stderr and acknowledgements on stdout: only one pipe keeps their order. */
  #spawn(): ChildProcess {
    const argv = [...(this.#options.prefix ?? []), 'sh', '-c', 'exec nft -i 2>&1']
    const child = spawn(argv[0]!, argv.slice(1), {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    this.#child = child
    this.#partial = ''
    child.stdin!.on('error', () => {}) // `close` tells the same.
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      if (child === this.#child) this.#read(text)
    })
    child.on('error', () => this.#lost(child))
    child.on('close', () => this.#lost(child))
    return child
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop()!.slice(-OUTPUT_CHARS_MAX)
    for (const line of lines) {
      const head = this.#pending[0]
      if (!head) continue
      if (line.startsWith(ACK_ANSWER)) this.#finish(head)
      else if (head.output.length < OUTPUT_CHARS_MAX) head.output += `${line}\n`
    }
  }

  #finish(head: Pending): void {
    this.#pending.shift()
    if (head.output.includes('Error:'))
      head.reject(new NftError('nft_refused', head.output.trim().slice(0, 2_000)))
    else head.resolve()
    this.#watch()
  }

  /** Bounds the wait of the oldest transaction. */
  #watch(): void {
    clearTimeout(this.#timer)
    if (this.#pending.length === 0) return
    const child = this.#child
    this.#timer = setTimeout(() => {
      child?.kill('SIGKILL')
      if (child) this.#lost(child)
    }, this.#options.timeoutMs ?? TIMEOUT_MS)
    this.#timer.unref()
  }

  /** What was sent may have taken effect or not; repeatable commands make both fine. */
  #lost(child: ChildProcess): void {
    if (child !== this.#child) return
    this.#child = undefined
    clearTimeout(this.#timer)
    if (this.#closed) return
    const [again, failed] = [
      this.#pending.filter((p) => p.attempts < 2),
      this.#pending.filter((p) => p.attempts >= 2),
    ]
    this.#options.log.warn({ waiting: this.#pending.length }, 'nft ended; starting it again')
    this.#pending = again
    for (const p of failed)
      p.reject(new NftError('nft_lost', 'nft ended twice before it answered; is it installed?'))
    for (const p of again) this.#send(p)
  }
}
