import { isFieldValue, isToken } from '../../base/http1/chars.ts'
import type { ServiceOptions } from '../../model/service-options.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import { HEAD_READ_MS, REQUEST_IDLE_MS } from '../limits.ts'

/** What Fly's proxy calls itself in Via (H8); apps recognise a proxied request by it. */
export const VIA_NAME = 'fly.io'
const SERVER = 'fairway'

/** What http_options of a port ask for, read once per route (S22 to S25). */
export interface HttpPolicy {
  readonly idleMs: number
  /** Infinity when the app asks for nothing. */
  readonly tunnelIdleMs: number
  readonly headReadMs: number
  readonly pristine: boolean
  /** Names (lower case) of an app's response fields that go. */
  readonly removed: ReadonlySet<string> | null
  /** Field lines that every final response gets. */
  readonly added: string
  /** What the edge says of itself, by the version of the app's response. */
  readonly own11: string
  readonly own10: string
  /** They end with the name of the field that has the request's id. */
  readonly saysId: boolean
  readonly saysDate: boolean
  /** A PROXY header of this version begins each upstream connection; null: none. */
  readonly proxyProto: PortRoute['proxyProtoVersion'] | null
  /** The cookie that keeps a client with its machine; null: none. */
  readonly sticky: ServiceOptions['sticky']
  /** Requests that the app's own log tells of; null: none. */
  readonly accessLog: ServiceOptions['accessLog']
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
  return {
    idleMs: timeoutMs(options.idle_timeout, REQUEST_IDLE_MS),
    tunnelIdleMs: timeoutMs(options.idle_timeout, Infinity),
    headReadMs: timeoutMs(options.headers_read_timeout, HEAD_READ_MS),
    removed: removed.size > 0 ? removed : null,
    added,
    ...ownFields(response.pristine === true, removed),
    proxyProto: route.handlers.includes('proxy_proto') ? route.proxyProtoVersion : null,
    sticky: route.options?.sticky ?? null,
    accessLog: route.options?.accessLog ?? null,
  }
}

/** Whatever response.headers names is not the edge's to say (S24), and nothing is when pristine (S25). */
function ownFields(pristine: boolean, taken: ReadonlySet<string>) {
  const saysId = !pristine && !taken.has('fly-request-id')
  const own = (minor: 0 | 1): string => {
    if (pristine) return ''
    const server = taken.has('server') ? '' : `Server: ${SERVER}\r\n`
    const via = taken.has('via') ? '' : `Via: 1.${minor} ${VIA_NAME}\r\n`
    return `${server}${via}${saysId ? 'Fly-Request-Id: ' : ''}`
  }
  return { pristine, saysId, saysDate: !taken.has('date'), own11: own(1), own10: own(0) }
}

/** Of seconds; 0 or nothing: `otherwise`. */
const timeoutMs = (seconds: unknown, otherwise: number): number =>
  typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : otherwise

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
