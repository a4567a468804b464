import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { connect, isIP } from 'node:net'
import { messageOf } from '../../base/errors.ts'
import type { ProbePlan } from './plan.ts'

export interface ProbeResult {
  readonly passed: boolean
  /** For people: what was answered, or what went wrong. At most OUTPUT_CHARS_MAX characters. */
  readonly output: string
}

export const OUTPUT_CHARS_MAX = 512
/** More of an answer than this is not waited for. */
const BODY_BYTES_MAX = 4_096

/** Asks `address` once. Never throws; takes at most `timeoutMs`, or until `signal` fires. */
export async function probe(
  plan: ProbePlan,
  address: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const timeout = AbortSignal.timeout(timeoutMs)
  const either = AbortSignal.any([signal, timeout])
  try {
    const run =
      plan.type === 'tcp' ? probeTcp(plan.port, address, either) : probeHttp(plan, address, either)
    const result = await run
    return { ...result, output: result.output.slice(0, OUTPUT_CHARS_MAX) }
  } catch (error) {
    const output = timeout.aborted ? `no answer within ${timeoutMs} ms` : messageOf(error)
    return { passed: false, output: output.slice(0, OUTPUT_CHARS_MAX) }
  }
}

/** S31: an accepted connection is a pass. */
function probeTcp(port: number, host: string, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host })
    const stop = () => {
      socket.destroy()
      reject(new Error('interrupted'))
    }
    signal.addEventListener('abort', stop, { once: true })
    const settle = (done: () => void) => {
      signal.removeEventListener('abort', stop)
      socket.destroy()
      done()
    }
    socket.on('connect', () => settle(() => resolve({ passed: true, output: 'Success' })))
    socket.on('error', (error) => settle(() => reject(error)))
  })
}

// No connection is kept: a check must not pass because an old one still works.
const httpAgent = new HttpAgent({ keepAlive: false })
const httpsAgent = new HttpsAgent({ keepAlive: false })

type HttpPlan = Extract<ProbePlan, { type: 'http' }>

/** S32: 2xx passes; a redirect is an answer like any other and is not followed. */
async function probeHttp(plan: HttpPlan, host: string, signal: AbortSignal): Promise<ProbeResult> {
  const response = await send(plan, host, signal)
  const status = response.statusCode ?? 0
  const body = await readBody(response)
  const summary = `${status} ${response.statusMessage ?? ''}`.trim()
  return { passed: status >= 200 && status < 300, output: body ? `${summary}: ${body}` : summary }
}

function send(plan: HttpPlan, host: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = {
      ...{ host, port: plan.port, method: plan.method, path: plan.path, signal },
      headers: headersOf(plan),
    }
    const request = plan.tls
      ? httpsRequest({
          ...options,
          agent: httpsAgent,
          rejectUnauthorized: !plan.tls.skipVerify,
          // An address is no server name (RFC 6066 section 3): without a name none is sent.
          servername: plan.tls.serverName ?? (isIP(host) ? '' : host),
        })
      : httpRequest({ ...options, agent: httpAgent })
    request.on('response', resolve)
    request.on('error', reject)
    request.end()
  })
}

function headersOf(plan: HttpPlan): Record<string, string[] | string> {
  const headers: Record<string, string[] | string> = { 'User-Agent': 'fairway-check' }
  for (const [name, value] of plan.headers) {
    const known = Object.keys(headers).find((key) => key.toLowerCase() === name.toLowerCase())
    const before = known && name.toLowerCase() !== 'user-agent' ? [headers[known]!].flat() : []
    if (known) delete headers[known]
    headers[name] = before.length > 0 ? [...before, value] : value
  }
  return headers
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length >= BODY_BYTES_MAX) break
  }
  response.destroy()
  return Buffer.concat(chunks).subarray(0, OUTPUT_CHARS_MAX).toString('utf8').trim()
}
