import { z } from 'zod'

/** What an operator wants of the edges besides metrics. Everything is off unless it is said. */

const sampleRate = z.number().min(0).max(1)

const endpoint = z.string().refine((text) => {
  const url = URL.parse(text)
  return url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.search === ''
}, 'not http://host:port or https://host; credentials belong into headersFile')

export const AccessLogConfig = z.object({
  /** Share of the requests that get a line: 0 to 1. */
  sampleRate,
  /** With query strings, which may hold what is private. */
  query: z.boolean().default(false),
})

export const TracesConfig = z.object({
  /** Base URL of an OTLP/HTTP receiver; `/v1/traces` is added. */
  endpoint,
  /** Path of a private JSON file of header fields, such as `{"authorization":"Bearer ..."}`. */
  headersFile: z.string().nullable().default(null),
  /** Share of the requests without a trace of their own that begin one: 0 to 1. */
  sampleRate,
})
export type TracesConfig = z.infer<typeof TracesConfig>

export const ObserveConfig = z.object({
  accessLog: AccessLogConfig.nullable().default(null),
  traces: TracesConfig.nullable().default(null),
})
export type ObserveConfig = z.infer<typeof ObserveConfig>
export const NOT_OBSERVED: ObserveConfig = { accessLog: null, traces: null }
