import { CHAR_CLASS, FIELD, TOKEN } from '../../base/http1/chars.ts'
import type { ServiceOptions } from '../../model/service-options.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import { REQUEST_IDLE_MS } from '../limits.ts'

/** What http_options of a port ask for, read once per route (S22, S24, S25). */
export interface HttpPolicy {
  readonly idleMs: number
  readonly pristine: boolean
  /** Names (lower case) of an app's response fields that go. */
  readonly removed: ReadonlySet<string> | null
  /** Field lines that every final response gets. */
  readonly added: string
  /** A PROXY header of this version begins each upstream connection; null: none. */
  readonly proxyProto: PortRoute['proxyProtoVersion'] | null
  /** The cookie that keeps a client with its machine; null: none. */
  readonly sticky: ServiceOptions['sticky']
  /** Requests that the app's own log tells of; null: none. */
  readonly accessLog: { readonly sampleRate: number; readonly query: boolean } | null
}

const policies = new WeakMap<PortRoute, HttpPolicy>()

export function policyOf(route: PortRoute): HttpPolicy {
  let policy = policies.get(route)
  if (!policy) {
    policy = readPolicy(route)
    policies.set(route, policy)
  }
  return policy
}

/** Fields that frame a message or end a connection are not an app's to set here. */
const NOT_SET = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

function readPolicy(route: PortRoute): HttpPolicy {
  const options = route.httpOptions ?? {}
  const response = asRecord(options.response)
  const removed = new Set<string>()
  let added = ''
  for (const [name, value] of Object.entries(asRecord(response.headers))) {
    const lower = name.toLowerCase()
    if (!isToken(name) || NOT_SET.has(lower)) continue
    removed.add(lower)
    const values = Array.isArray(value) ? value : [value]
    for (const v of values)
      if (typeof v === 'string' && isFieldValue(v)) added += `${name}: ${v}\r\n`
  }
  const idle = options.idle_timeout
  return {
    idleMs: typeof idle === 'number' && idle > 0 ? idle * 1000 : REQUEST_IDLE_MS,
    pristine: response.pristine === true,
    removed: removed.size > 0 ? removed : null,
    added,
    proxyProto: route.handlers.includes('proxy_proto') ? route.proxyProtoVersion : null,
    sticky: route.options?.sticky ?? null,
    accessLog: accessLogOf(options.access_log),
  }
}

function accessLogOf(value: unknown): HttpPolicy['accessLog'] {
  if (typeof value !== 'object' || value === null) return null
  const { sample_rate: sampleRate = 1, query } = value as Record<string, unknown>
  if (typeof sampleRate !== 'number' || !(sampleRate > 0)) return null
  return { sampleRate, query: query === true }
}

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

const every = (text: string, mask: number): boolean => {
  for (let i = 0; i < text.length; i++)
    if (((CHAR_CLASS[text.charCodeAt(i)] ?? 0) & mask) === 0) return false
  return true
}
const isToken = (text: string): boolean => text !== '' && every(text, TOKEN)
const isFieldValue = (text: string): boolean => every(text, FIELD)
