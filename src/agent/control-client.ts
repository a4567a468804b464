import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { HostReport, LaunchSpec } from '../model/wire.ts'

/** PEM texts. */
export interface ControlTls {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** The name in the control plane's certificate, when its URL names it otherwise. */
  readonly serverName?: string
}

export interface ControlClientOptions {
  /** `https://host:port` of each control process; the first that answers is used. */
  readonly urls: readonly string[]
  readonly tls: ControlTls
  readonly requestMsMax?: number
  readonly artifactBytesMax?: number
}

const REQUEST_MS_MAX = 5_000
/** Less than a host's lease: a report that hangs leaves time for another. */
export const REPORT_MS_MAX = 1_500
const ARTIFACT_MS_MAX = 5 * 60_000
const ARTIFACT_BYTES_MAX = 512 * 1024 * 1024
/** Whoever asked may read slowly what has been sent. */
const ANSWER_REPLY_MS_MAX = 60_000
const REPLY_BYTES_MAX = 8 * 1024 * 1024
const ERROR_BYTES_MAX = 16 * 1024
const SOCKETS_MAX = 64

const LaunchSpecSchema: z.ZodType<LaunchSpec> = z.object({
  machine: z.string(),
  instanceId: z.string(),
  secrets: z.record(z.string(), z.string()),
  artifact: z.string(),
})
const ErrorBody = z.looseObject({ error: z.string(), code: z.string().optional() })

/**
 * Requests to the control plane over HTTPS, certificates at both ends. An error is a `FairwayError`:
 * the control plane's own with its status, or `control_unreachable` (503).
 */
export class ControlClient {
  readonly #options: ControlClientOptions
  readonly #agent: Agent
  #active = 0

  constructor(options: ControlClientOptions) {
    const { ca, cert, key, serverName } = options.tls
    this.#options = options
    this.#agent = new Agent({
      ...{ ca, cert, key, minVersion: 'TLSv1.3', keepAlive: true, maxSockets: SOCKETS_MAX },
      ...(serverName === undefined ? {} : { servername: serverName }),
    })
  }

  /** The control process that requests go to. */
  get url(): string {
    return this.#options.urls[this.#active]!
  }

  /** Goes to the next control process; requests under way stay where they are. */
  turn(): void {
    this.#active = (this.#active + 1) % this.#options.urls.length
  }

  async report(report: HostReport, signal?: AbortSignal): Promise<void> {
    const body = JSON.stringify(report)
    const until = within(REPORT_MS_MAX, signal)
    await this.#read(await this.#send('POST', '/agent/v1/report', { body, signal: until }))
  }

  /** Secrets and artifact of a start. `instance` given: only for that version of the machine. */
  async launch(machine: string, instance?: string, signal?: AbortSignal): Promise<LaunchSpec> {
    const query = instance === undefined ? '' : `?instance=${encodeURIComponent(instance)}`
    const path = `/agent/v1/launch/${encodeURIComponent(machine)}${query}`
    const until = within(this.#options.requestMsMax ?? REQUEST_MS_MAX, signal)
    const text = await this.#read(await this.#send('GET', path, { signal: until }))
    const spec = LaunchSpecSchema.safeParse(parseJson(text))
    if (spec.success) return spec.data
    throw new FairwayError('bad_reply', `the launch specification of ${machine} cannot be read`)
  }

  /** Fetches an artifact into a file of mode 0600, which appears whole and verified or not at all. */
  async artifact(digest: string, toFile: string, signal?: AbortSignal): Promise<void> {
    const hex = digest.replace(/^sha256:/, '')
    if (!/^[0-9a-f]{64}$/.test(hex))
      throw new FairwayError('invalid', `artifact "${digest.slice(0, 80)}" is no sha256 digest`)
    const until = within(ARTIFACT_MS_MAX, signal)
    const response = await this.#send('GET', `/agent/v1/artifacts/${hex}`, { signal: until })
    if (response.statusCode !== 200) await this.#read(response)
    const partial = `${toFile}.part`
    try {
      await this.#store(response, hex, partial, until)
      await rename(partial, toFile)
    } catch (error) {
      await rm(partial, { force: true })
      if (error instanceof FairwayError) throw error
      throw unreachable(this.url, error)
    }
  }

  async #store(
    response: IncomingMessage,
    hex: string,
    file: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { artifactBytesMax = ARTIFACT_BYTES_MAX } = this.#options
    const hash = createHash('sha256')
    let bytes = 0
    const verify = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        bytes += chunk.length
        hash.update(chunk)
        const message = `artifact sha256:${hex} is larger than ${artifactBytesMax} bytes`
        if (bytes > artifactBytesMax) done(new FairwayError('artifact_too_large', message))
        else done(null, chunk)
      },
    })
    // On the disk before it has its name: after a power failure a file is trusted by its name alone.
    const draft = createWriteStream(file, { mode: 0o600, flush: true })
    await pipeline(response, verify, draft, { signal })
    const got = hash.digest('hex')
    if (got === hex) return
    const message = `artifact sha256:${hex} arrived as sha256:${got}; it is damaged`
    throw new FairwayError('artifact_damaged', message, { status: 502 })
  }

  /** The feed's response; its body is the lines. */
  async watch(after: number, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await this.#send('GET', `/agent/v1/watch?from=${after}`, { signal })
    if (response.statusCode !== 200) await this.#read(response)
    return response
  }

  /**
   * Answers a call with lines, which should end when their signal fires: the control plane wants no
   * more of them. Resolves when that is so, or it has them all.
   */
  async answer(
    id: string,
    lines: (signal: AbortSignal) => AsyncIterable<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const path = `/agent/v1/calls/${encodeURIComponent(id)}`
    const over = new AbortController()
    const outgoing = request(new URL(path, this.url), {
      ...{ agent: this.#agent, method: 'POST', signal },
      headers: { 'content-type': 'application/x-ndjson' },
    })
    outgoing.on('error', () => {}) // Seen by both of the waits below.
    // Whoever asked is to know at once that there will be an answer, however late its first line.
    outgoing.flushHeaders()
    // The reply comes when nobody reads on, which may be in the middle of the body.
    const replied = once(outgoing, 'response').then(([response]) => {
      ;(response as IncomingMessage).resume()
      over.abort()
    })
    const stop = AbortSignal.any([signal, over.signal])
    const sent = pipeline(lines(stop), outgoing, { signal: stop }).finally(() => {
      outgoing.setTimeout(ANSWER_REPLY_MS_MAX, () => outgoing.destroy())
    })
    const [reply, body] = await Promise.allSettled([replied, sent])
    if (reply.status === 'rejected' && !signal.aborted)
      throw body.status === 'rejected' ? body.reason : unreachable(this.url, reply.reason)
  }

  async #send(
    method: string,
    path: string,
    { body, signal }: { body?: string; signal: AbortSignal },
  ): Promise<IncomingMessage> {
    const url = this.url
    const options: RequestOptions = {
      ...{ agent: this.#agent, method, signal },
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
    }
    try {
      const outgoing = request(new URL(path, url), options)
      outgoing.end(body)
      const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
      outgoing.on('error', () => {}) // The response ends with it, and says so.
      return response
    } catch (error) {
      throw unreachable(url, signal.aborted ? signal.reason : error)
    }
  }

  /** The body of a 200; any other status is an error. */
  async #read(response: IncomingMessage): Promise<string> {
    const isOk = response.statusCode === 200
    const bytesMax = isOk ? REPLY_BYTES_MAX : ERROR_BYTES_MAX
    const chunks: Buffer[] = []
    let bytes = 0
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        bytes += chunk.length
        if (bytes > bytesMax) throw new Error(`the reply is longer than ${bytesMax} bytes`)
        chunks.push(chunk)
      }
    } catch (error) {
      throw unreachable(this.url, error)
    }
    const text = Buffer.concat(chunks).toString('utf8')
    if (isOk) return text
    const status = response.statusCode ?? 500
    const parsed = ErrorBody.safeParse(parseJson(text))
    const { error, code } = parsed.success ? parsed.data : { error: text.slice(0, 200) }
    throw new FairwayError(code ?? 'control_refused', error, { status })
  }

  close(): void {
    this.#agent.destroy()
  }
}

const within = (ms: number, signal: AbortSignal | undefined): AbortSignal =>
  signal ? AbortSignal.any([signal, AbortSignal.timeout(ms)]) : AbortSignal.timeout(ms)

const unreachable = (url: string, cause: unknown): FairwayError =>
  new FairwayError('control_unreachable', `the control plane at ${url}: ${messageOf(cause)}`, {
    status: 503,
    cause,
  })

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
