import { createHash } from 'node:crypto'
import type { Record } from './origins/recorder.ts'
import type { OriginName } from './origins.ts'
import type { Field, ReferenceRequest } from './reference.ts'

/** What the edge adds to every request, so that an origin sees it whatever the client said. */
const ADDED = new Set([
  ...['host', 'x-forwarded-for', 'fly-client-ip', 'x-forwarded-proto', 'x-forwarded-ssl'],
  ...['fly-forwarded-port', 'fly-region', 'fly-request-id', 'connection', 'upgrade'],
])
/** Between a server in front of the recorder and the recorder: theirs, and shown by the body itself. */
const FRAMING = new Set(['content-length', 'transfer-encoding'])
const NGINX_OWN = new Set(['x-seen-method', 'x-seen-target', 'expect'])

/** How an origin's view of a request differs from what was sent; empty when it does not. */
export function differences(
  origin: OriginName,
  request: ReferenceRequest,
  record: Record,
): string[] {
  const found: string[] = []
  const same = (what: string, sent: unknown, seen: unknown) => {
    const [a, b] = [JSON.stringify(sent), JSON.stringify(seen)]
    if (a !== b) found.push(`${origin} saw another ${what}: sent ${short(a)}, saw ${short(b)}`)
  }
  const fields = grouped(pairsOf(record.fields))
  const one = (name: string) => fields.get(name)?.join(' and ')
  if (origin === 'nginx') {
    same('method', request.method, one('x-seen-method'))
    same('target', request.target, one('x-seen-target'))
  }
  same('method', request.method, record.method)
  same('target', request.target, record.target)
  if (request.host !== '') same('host', request.host, one('host'))
  same('number of hosts', 1, fields.get('host')?.length)
  same('client address', '127.0.0.1', one('fly-client-ip'))
  same('region', 'iad', one('fly-region'))
  same('body length', request.body.length, record.bodyBytes)
  same('body', sha1(request.body), record.digest)
  // HAProxy takes up none when there is a body, as anybody between two neighbours may (RFC 9110 7.8).
  const mayUpgrade = origin !== 'nginx' && !(origin === 'haproxy' && isFramed(request))
  if (mayUpgrade) same('upgrade', request.upgrade, one('upgrade') ?? '')
  if (origin === 'node' || origin === 'far' || origin === 'haproxy')
    same('trailers', request.trailers, pairsOf(record.trailers))
  const isOurs = (name: string) => ADDED.has(name) || FRAMING.has(name)
  const isTheirs = (name: string) => origin === 'nginx' && NGINX_OWN.has(name)
  same(
    'list of fields',
    sorted(grouped(request.fields), (name) => isOurs(name) || isTheirs(name)),
    sorted(withoutEdge(fields, request), (name) => isOurs(name) || isTheirs(name)),
  )
  return found
}

const isFramed = ({ fields }: ReferenceRequest): boolean =>
  fields.some(([name]) => FRAMING.has(name))

/** The edge's own Via comes last, and its X-Forwarded-Port when the client gave none. */
function withoutEdge(
  fields: ReadonlyMap<string, readonly string[]>,
  request: ReferenceRequest,
): Map<string, readonly string[]> {
  const rest = new Map(fields)
  const via = fields.get('via') ?? []
  if (via.at(-1) === `1.${request.minor} fly.io`) rest.set('via', via.slice(0, -1))
  const gavePort = request.fields.some(([name]) => name === 'x-forwarded-port')
  if (!gavePort && fields.get('x-forwarded-port')?.join() === '80') rest.delete('x-forwarded-port')
  return rest
}

function grouped(pairs: readonly Field[]): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const [name, value] of pairs) groups.set(name, [...(groups.get(name) ?? []), value])
  return groups
}

const sorted = (groups: ReadonlyMap<string, readonly string[]>, skip: (name: string) => boolean) =>
  [...groups]
    .filter(([name, values]) => values.length > 0 && !skip(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))

function pairsOf(list: readonly string[]): Field[] {
  const pairs: Field[] = []
  for (let i = 0; i < list.length; i += 2)
    pairs.push([list[i]!.toLowerCase(), list[i + 1]!.replace(/^[ \t]+|[ \t]+$/g, '')])
  return pairs
}

const sha1 = (text: string): string => createHash('sha1').update(text, 'latin1').digest('hex')
const short = (text: string | undefined): string =>
  text === undefined ? 'nothing' : text.length > 400 ? `${text.slice(0, 400)}…` : text
