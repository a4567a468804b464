import http from 'node:http'
import { z } from 'zod'

/** What a machine's packets have as source when they leave its host; null: they cannot, or unknown. */
const Source = z.object({ v4: z.string().nullable(), v6: z.string().nullable() })
export type Source = z.infer<typeof Source>

/** Below the 5 s after which a C library asks again. */
const TIMEOUT_MS = 3_000
const ANSWER_CHARS_MAX = 4_096

/** Asks the agent on its unix socket (`EgressWatch`), by the machine's private address. */
export function askSource(socketPath: string, machine: string): Promise<Source> {
  const { promise, resolve, reject } = Promise.withResolvers<Source>()
  const path = `/source/${encodeURIComponent(machine)}`
  const request = http.get({ socketPath, path, timeout: TIMEOUT_MS, agent: false }, (response) => {
    let text = ''
    response.setEncoding('utf8').on('data', (part: string) => {
      text += part
      if (text.length > ANSWER_CHARS_MAX) request.destroy(new Error('the answer is too long'))
    })
    response.on('error', reject)
    response.on('end', () => {
      try {
        if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`)
        resolve(Source.parse(JSON.parse(text)))
      } catch (error) {
        reject(error as Error)
      }
    })
  })
  request.on('timeout', () => request.destroy(new Error('the agent does not answer')))
  request.on('error', reject)
  return promise
}
