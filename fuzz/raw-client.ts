import net from 'node:net'

/** A client that sends exactly what it is told, and reads responses one by one, strictly. */

export interface Response {
  readonly status: number
  readonly reason: string
  /** Names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: string
  /** Final statuses come after these. */
  readonly interim: readonly number[]
  /** Its end is that of the connection. */
  readonly endsByClose: boolean
}

/** Far more than anybody should have to wait, and less than the edge's own time-outs. */
export const WAIT_MS = 30_000

const HEAD = /^HTTP\/1\.1 (\d{3}) ([^\r\n]*)\r\n((?:[^\r\n:]+:[^\r\n]*\r\n)*)\r\n/

export class RawClient {
  readonly #socket: net.Socket
  #text = ''
  #ended = false
  #reset: string | undefined
  #wake: () => void = () => {}

  constructor(port: number) {
    this.#socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#socket.setEncoding('latin1').on('data', (text) => {
      this.#text += text
      this.#wake()
    })
    this.#socket.on('end', () => {
      this.#ended = true
      this.#wake()
    })
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#reset = error.code ?? 'error'
      this.#wake()
    })
  }

  async send(segments: readonly string[]): Promise<void> {
    for (const [i, segment] of segments.entries()) {
      // Apart, so that the edge reads them apart.
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, 1))
      if (!this.#socket.destroyed && !this.#ended) this.#socket.write(segment, 'latin1')
    }
  }

  finish(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  get rest(): string {
    return this.#text
  }

  get wasReset(): string | undefined {
    return this.#reset
  }

  /** The next response; a text says why there is none. */
  async response(toHead: boolean): Promise<Response | string> {
    const interim: number[] = []
    for (;;) {
      const head = await this.#until(() => HEAD.exec(this.#text))
      if (typeof head === 'string') return head
      const [whole, status, reason, lines] = head
      this.#text = this.#text.slice(whole.length)
      if (status!.startsWith('1') && status !== '101') interim.push(Number(status))
      else return this.#bodyOf(Number(status), reason!, fieldsOf(lines!), toHead, interim)
    }
  }

  /** Resolves when the other end has ended: undefined, or what came before it or instead of it. */
  async end(): Promise<string | undefined> {
    const ended = await this.#until(() => this.#ended)
    if (typeof ended === 'string' && ended !== 'ended') return ended
    return this.#text === '' ? undefined : `more came: ${JSON.stringify(this.#text.slice(0, 200))}`
  }

  async #bodyOf(
    status: number,
    reason: string,
    fields: Response['fields'],
    toHead: boolean,
    interim: number[],
  ): Promise<Response | string> {
    const all = (name: string) => fields.filter(([n]) => n === name).map(([, value]) => value)
    const response = { status, reason, fields, interim, endsByClose: false }
    if (toHead || status === 204 || status === 304 || status === 101)
      return { ...response, body: '' }
    const [length, ...lengths] = all('content-length')
    const coding = all('transfer-encoding').join()
    if (lengths.length > 0 || (length !== undefined && coding !== ''))
      return 'the response is framed twice'
    if (length !== undefined) return this.#take(Number(length), response)
    if (coding === 'chunked') return this.#chunks(response)
    if (coding !== '') return `the response has the coding ${coding}`
    const ended = await this.#until(() => this.#ended)
    if (typeof ended === 'string' && ended !== 'ended') return ended
    return this.#take(this.#text.length, { ...response, endsByClose: true })
  }

  async #take(length: number, response: Omit<Response, 'body'>): Promise<Response | string> {
    const is = await this.#until(() => this.#text.length >= length)
    if (typeof is === 'string') return `the body broke off: ${is}`
    const body = this.#text.slice(0, length)
    this.#text = this.#text.slice(length)
    return { ...response, body }
  }

  async #chunks(response: Omit<Response, 'body'>): Promise<Response | string> {
    for (let body = ''; ; ) {
      const line = await this.#until(() => /^([0-9a-f]+)[^\r\n]*\r\n/i.exec(this.#text))
      if (typeof line === 'string') return `the body broke off: ${line}`
      const size = Number.parseInt(line[1]!, 16)
      if (size === 0) {
        const end = await this.#until(() => /^0[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(this.#text))
        if (typeof end === 'string') return `the trailers broke off: ${end}`
        this.#text = this.#text.slice(end[0].length)
        return { ...response, body }
      }
      const from = line[0].length
      const whole = await this.#until(() => this.#text.length >= from + size + 2)
      if (typeof whole === 'string') return `the body broke off: ${whole}`
      body += this.#text.slice(from, from + size)
      if (!this.#text.startsWith('\r\n', from + size)) return 'a chunk does not end where it should'
      this.#text = this.#text.slice(from + size + 2)
    }
  }

  /** What `ask` finds, or why it never will: `ended`, `reset ...` or `hangs`. */
  async #until<T>(ask: () => T | null | false): Promise<T | string> {
    for (const until = performance.now() + WAIT_MS; ; ) {
      const found = ask()
      if (found) return found
      if (this.#reset !== undefined) return `reset ${this.#reset}`
      if (this.#ended) return 'ended'
      const leftMs = until - performance.now()
      if (leftMs <= 0) return 'hangs'
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}

/** Connections that are known to be usable, for the next case: making one costs more than a case. */
export class RawClients {
  readonly #idle = new Map<number, RawClient[]>()

  take(port: number): RawClient {
    return this.#idle.get(port)?.pop() ?? new RawClient(port)
  }

  give(port: number, client: RawClient): void {
    const idle = this.#idle.get(port)
    if (idle) idle.push(client)
    else this.#idle.set(port, [client])
  }

  /** They would time out. */
  clear(): void {
    for (const idle of this.#idle.values()) for (const client of idle) client.destroy()
    this.#idle.clear()
  }
}

const fieldsOf = (lines: string): Response['fields'] =>
  lines
    .split('\r\n')
    .slice(0, -1)
    .map((line) => {
      const colon = line.indexOf(':')
      const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
      return [line.slice(0, colon).toLowerCase(), value]
    })
