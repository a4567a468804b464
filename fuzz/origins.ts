import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Record, Refusal } from './origins/recorder.ts'

/** Four readers of HTTP/1.1 that are not ours, and what they report. */

export type OriginName = 'node' | 'far' | 'nginx' | 'haproxy' | 'python'
/** `far` is node again, behind the edge of another host. */
export const ORIGINS: readonly OriginName[] = ['node', 'far', 'nginx', 'haproxy', 'python']

const START_MS = 20_000
const HERE = join(import.meta.dirname, 'origins')

export class Origins {
  readonly ports = new Map<OriginName, number>()
  /** By the id that the edge gave the request; what has none was never a request of the edge's. */
  readonly records = new Map<string, Record[]>()
  readonly refusals: Refusal[] = []
  readonly #children: ChildProcess[] = []
  readonly #dir = mkdtempSync(join(tmpdir(), 'fairway-fuzz-'))
  #accessLogRead = 0
  #ended = false
  /** An origin that ended while it was needed. */
  died: string | undefined

  static async start(): Promise<Origins> {
    const origins = new Origins()
    try {
      await origins.#start()
    } catch (error) {
      origins.stop()
      throw error
    }
    return origins
  }

  stop(): void {
    this.#ended = true
    for (const child of this.#children) child.kill('SIGKILL')
    rmSync(this.#dir, { recursive: true, force: true })
  }

  /** Requests that nginx would not read. They stand in its log only. */
  readAccessLog(): void {
    const log = readFileSync(join(this.#dir, 'access.log'), 'latin1')
    const end = log.lastIndexOf('\n') + 1
    for (const line of log.slice(this.#accessLogRead, end).split('\n'))
      if (/^[45]\d\d -$/.test(line)) this.refusals.push({ origin: 'nginx', refused: line })
    this.#accessLogRead = end
  }

  async #start(): Promise<void> {
    const recorder = this.#keep(
      fork(join(HERE, 'recorder.ts'), ['node', 'far', 'nginx', 'haproxy'], { stdio: 'inherit' }),
    )
    const [{ ports }] = await once(recorder, 'message', { signal: AbortSignal.timeout(START_MS) })
    recorder.on('message', (said: Record | Refusal) => this.#onSaid(said))
    this.ports.set('node', ports.node).set('far', ports.far)
    await this.#startPython()
    for (const name of ['nginx', 'haproxy'] as const) await this.#startProxy(name, ports[name])
  }

  async #startPython(): Promise<void> {
    const child = this.#spawn(['python3', join(HERE, 'python.py')])
    const lines = createInterface(child.stdout!)
    const [port] = await once(lines, 'line', { signal: AbortSignal.timeout(START_MS) })
    lines.on('line', (line) => this.#onSaid(JSON.parse(line)))
    this.ports.set('python', Number(port))
  }

  async #startProxy(name: 'nginx' | 'haproxy', recorder: number): Promise<void> {
    const port = await freePort()
    const file = name === 'nginx' ? 'nginx.conf' : 'haproxy.cfg'
    const text = readFileSync(join(HERE, file), 'utf8')
      .replaceAll('@PORT@', String(port))
      .replaceAll('@RECORDER@', String(recorder))
      .replaceAll('@DIR@', this.#dir)
    const path = join(this.#dir, file)
    writeFileSync(path, text)
    mkdirSync(this.#dir, { recursive: true })
    const argv = name === 'nginx' ? ['nginx', '-p', this.#dir, '-c', path] : ['haproxy', '-f', path]
    const child = this.#spawn(argv)
    createInterface(child.stdout!).on('line', (line) => {
      if (line.endsWith(' <BADREQ>')) this.refusals.push({ origin: name, refused: line })
    })
    await listening(port)
    this.ports.set(name, port)
  }

  #spawn([command, ...args]: string[]): ChildProcess {
    return this.#keep(spawn(command!, args, { stdio: ['ignore', 'pipe', 'ignore'] }))
  }

  #keep(child: ChildProcess): ChildProcess {
    this.#children.push(child)
    child.on('error', (error) => (this.died ??= error.message))
    child.on('exit', (code, signal) => {
      if (!this.#ended) this.died ??= `${child.spawnargs.join(' ')} ended: ${code ?? signal}`
    })
    return child
  }

  #onSaid(said: Record | Refusal): void {
    if ('refused' in said) {
      this.refusals.push(said)
      return
    }
    const id = fieldsOf(said.fields, 'fly-request-id').join(' and ')
    this.records.set(id, [...(this.records.get(id) ?? []), said])
  }
}

/** The values of a field, in order. */
export function fieldsOf(pairs: readonly string[], name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < pairs.length; i += 2)
    if (pairs[i]!.toLowerCase() === name) values.push(pairs[i + 1]!)
  return values
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  return port
}

async function listening(port: number): Promise<void> {
  for (const until = Date.now() + START_MS; ; ) {
    const socket = net.connect({ port, host: '127.0.0.1' })
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
    if (Date.now() > until) throw new Error(`nothing listens on ${port} after ${START_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
