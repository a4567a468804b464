import http from 'node:http'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Explanation } from '../model/explanation.ts'

const ANSWER_TIMEOUT_MS = 3_000
const ANSWER_BYTES_MAX = 256 * 1024

/** Asks the host's own edge, over its socket. */
export interface EdgeProbe {
  /** Throws `edge_unreachable`. */
  explain(question: {
    readonly address: string
    readonly port: number
    readonly host: string
  }): Promise<Explanation>
}

export function createEdgeProbe(socketPath: string): EdgeProbe {
  return {
    async explain({ address, port, host }) {
      const query = new URLSearchParams({ address, port: String(port), host })
      const { status, body } = await get(socketPath, `/explain?${query}`).catch((error) => {
        throw unreachable(messageOf(error))
      })
      if (status !== 200) throw unreachable(`it answered ${status}: ${body.slice(0, 200).trim()}`)
      return JSON.parse(body) as Explanation
    },
  }
}

const unreachable = (why: string): FairwayError =>
  new FairwayError('edge_unreachable', `the host's edge does not answer: ${why}`)

async function get(socketPath: string, path: string): Promise<{ status: number; body: string }> {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
  http.get({ socketPath, path, signal, agent: false }, resolve).on('error', reject)
  const response = await promise
  let body = ''
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    body += chunk
    if (body.length > ANSWER_BYTES_MAX) throw new Error('its answer is too long')
  }
  return { status: response.statusCode ?? 0, body }
}
