import { METHODS } from 'node:http'
import type { OriginName } from './origins.ts'
import type { Field, ReferenceRequest } from './reference.ts'

/**
 * What the edge passes on and an origin refuses, whole, before it acts on it. None of it can be taken for
 * something else, so these are the origin's own choices, not differences.
 */
export interface Stricter {
  readonly origins: readonly OriginName[]
  readonly what: string
  readonly why: string
  applies(request: ReferenceRequest): boolean
}

export const STRICTER: readonly Stricter[] = [
  {
    origins: ['node', 'far', 'nginx', 'haproxy'],
    what: 'a method that node does not know',
    why: 'its parser has a list of methods; RFC 9110 9.1 lets anybody add some (behind nginx and HAProxy it is the recorder)',
    applies: ({ method }) => !METHODS.includes(method),
  },
  {
    origins: ['haproxy'],
    what: 'an upgrade to WebSocket without Sec-WebSocket-Key',
    why: 'it checks the handshake (RFC 6455 4.1); to the edge it is the app’s own',
    applies: ({ upgrade, fields }) =>
      /websocket/i.test(upgrade) && countOf(fields, 'sec-websocket-key') === 0,
  },
  {
    origins: ['nginx'],
    what: 'TRACE',
    why: 'it answers 405 whatever the location says',
    applies: ({ method }) => method === 'TRACE',
  },
  {
    origins: ['nginx'],
    what: 'a method with other characters than A to Z, - and _',
    why: 'it reads no other tokens',
    applies: ({ method }) => !/^[A-Z_-]+$/.test(method),
  },
  {
    origins: ['nginx'],
    what: 'OPTIONS *',
    why: 'it serves paths only',
    applies: ({ target }) => target === '*',
  },
  {
    origins: ['nginx'],
    what: 'a field twice that may be there once',
    why: 'it looks for a few of them; to the edge they are the app’s own',
    applies: ({ fields }) => NGINX_ONCE.some((once) => countOf(fields, once) > 1),
  },
  {
    origins: ['nginx'],
    what: 'a host with an empty label',
    why: 'it takes hosts for file names too; RFC 3986 allows it',
    applies: ({ host }) => host.includes('..') || host.startsWith('.'),
  },
  {
    origins: ['nginx'],
    what: 'a path with a bad percent-encoding or %00, or that climbs above the root',
    why: 'it maps paths to files and decodes them first',
    applies: ({ target }) => /^[^?]*%(?![0-9A-Fa-f]{2})|^[^?]*%00/.test(target) || climbs(target),
  },
]

export const isStricter = (origin: OriginName, request: ReferenceRequest): boolean =>
  STRICTER.some(({ origins, applies }) => origins.includes(origin) && applies(request))

const NGINX_ONCE = [
  ...['authorization', 'if-modified-since', 'if-unmodified-since', 'if-match', 'if-none-match'],
  'if-range',
]
const countOf = (fields: readonly Field[], name: string): number =>
  fields.filter(([n]) => n === name).length

/** RFC 3986 5.2.4, counted. */
function climbs(target: string): boolean {
  const path = target
    .replace(/[?#].*$/, '')
    .replace(/%2e/gi, '.')
    .replace(/%2f/gi, '/')
  let depth = 0
  for (const segment of path.split(/\/+/).filter((s) => s !== '' && s !== '.')) {
    depth += segment === '..' ? -1 : 1
    if (depth < 0) return true
  }
  return false
}
