import { isIPv6 } from 'node:net'
import * as limits from '../src/proxy/limits.ts'

/**
 * HTTP/1.1 read a second time, by other means: whole texts and regular expressions, straight from the
 * grammar of RFC 9110 and 9112 and from docs/http.md. Slow, and meant to be read beside them.
 */

export type Field = readonly [name: string, value: string]

export interface ReferenceRequest {
  readonly method: string
  /** Origin form, or `*`. */
  readonly target: string
  /** '' when the client (of HTTP/1.0) sent none. */
  readonly host: string
  readonly minor: number
  /** The protocol that it asks for, or ''. */
  readonly upgrade: string
  /** What goes on to the app, but for Host and for what the edge adds; names in lower case. */
  readonly fields: readonly Field[]
  readonly body: string
  readonly trailers: readonly Field[]
}

export interface ReferenceConnection {
  /** All that are whole, in order. */
  readonly requests: readonly ReferenceRequest[]
  /**
   * What comes after them. `open`: the next request may follow. `close`: the last one ends the
   * connection. `unfinished`: part of a request. `refused`: something that is none.
   */
  readonly end: 'open' | 'close' | 'unfinished' | 'refused'
  /** The request that `unfinished` or `refused` is about, when its head is whole and right. */
  readonly pending: ReferenceRequest | null
  /** With `refused`: every status that says something true about it. */
  readonly statuses: ReadonlySet<number>
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const FIELD_LINE = new RegExp(`^(${TOKEN}):([\\t\\x20-\\x7e\\x80-\\xff]*)$`)
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21\\x22\\x24-\\x7e]+) HTTP/([0-9])\\.([0-9])$`)
const HOST = /^((?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::([0-9]*))?$/
const QUOTED =
  '"(?:[\\t\\x20\\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t\\x20-\\x7e\\x80-\\xff])*"'
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]{1,13})((?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED}))?)*)$`)

/** Never goes on: it is between two neighbours, or the edge's to say. */
const NOT_FORWARDED = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'upgrade', 'http2-settings'],
  ...['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-ssl', 'fly-client-ip', 'fly-region'],
  ...['fly-forwarded-port', 'fly-forwarded-proto', 'fly-forwarded-ssl', 'fly-request-id'],
  ...['fly-preferred-instance-unavailable', 'fly-replay-src', 'fly-replay-failed'],
  'fly-replay-cache-status',
])
/** Goes on in its own spelling, but not in one with underscores. */
const NOT_WITH_UNDERSCORES = new Set([
  ...[
    ...NOT_FORWARDED,
    'host',
    'content-length',
    'transfer-encoding',
    'expect',
    'x-forwarded-port',
  ],
])
const NOT_IN_TRAILERS =
  /^(transfer-encoding|content-length|host|connection|upgrade|trailer|te|x-forwarded-.*|fly-.*)$/

/** Reads all that a client sends on a connection. */
export function readConnection(text: string): ReferenceConnection {
  const requests: ReferenceRequest[] = []
  let at = 0
  for (;;) {
    const read = readRequest(text, at)
    if ('end' in read) return { requests, statuses: NONE, pending: null, ...read }
    requests.push(read.request)
    if (read.closes) return { requests, end: 'close', statuses: NONE, pending: null }
    at = read.next
  }
}

const NONE: ReadonlySet<number> = new Set()
type Stop = Pick<ReferenceConnection, 'end'> &
  Partial<Pick<ReferenceConnection, 'statuses' | 'pending'>>
const refused = (...statuses: number[]): Stop => ({ end: 'refused', statuses: new Set(statuses) })
const UNFINISHED: Stop = { end: 'unfinished' }

function readRequest(
  text: string,
  at: number,
): Stop | { request: ReferenceRequest; closes: boolean; next: number } {
  if (at === text.length || text.slice(at) === '\r\n') return { end: 'open' }
  // One empty line before a request (RFC 9112 2.2).
  const start = text.startsWith('\r\n', at) ? at + 2 : at
  const emptyLine = text.indexOf('\r\n\r\n', at)
  if (emptyLine < 0) return partOfHead(text.slice(start))
  if (emptyLine < start) return refused(400)
  if (emptyLine - start > limits.HEAD_BYTES_MAX) return refused(400, 431)
  const head = readHead(text.slice(start, emptyLine).split('\r\n'))
  if (head.statuses.size > 0) return refused(...head.statuses)
  const body = readBody(text, emptyLine + 4, head)
  const { closes, ...request } = head.request
  if ('end' in body) return { ...body, pending: { ...request, body: '', trailers: [] } }
  return {
    request: { ...request, body: body.content, trailers: body.trailers },
    closes,
    next: body.next,
  }
}

function partOfHead(text: string): Stop {
  if (text.length > limits.HEAD_BYTES_MAX) return refused(400, 431)
  if (/(^|[^\r])\n/.test(text)) return refused(400)
  return /^[!#$%&'*+.^_`|~0-9A-Za-z\r-]/.test(text) ? UNFINISHED : refused(400)
}

interface ReadHead {
  readonly statuses: ReadonlySet<number>
  readonly request: Omit<ReferenceRequest, 'body' | 'trailers'> & { readonly closes: boolean }
  /** Octets, or in chunks. */
  readonly framing: number | 'chunked'
}

function readHead([first, ...lines]: string[]): ReadHead {
  const statuses = new Set<number>()
  const { method, target, minor } = readRequestLine(first!, statuses)
  const fields: [string, string][] = []
  for (const line of lines) {
    const [, name, value] = FIELD_LINE.exec(line) ?? []
    if (name === undefined) statuses.add(400)
    else fields.push([name, value!.replace(/^[ \t]+|[ \t]+$/g, '')])
  }
  if (lines.length > limits.HEADER_COUNT_MAX) statuses.add(431)
  const all = (name: string) =>
    fields.filter(([n]) => n.toLowerCase() === name).map(([, value]) => value)
  const options = listOf(all('connection')).filter((o) => o !== 'close' && o !== 'keep-alive')
  if (new Set(options).size > limits.CONNECTION_OPTIONS_MAX) statuses.add(431)
  if (options.some((o) => /^(host|content-length|transfer-encoding|expect)$/.test(o)))
    statuses.add(400)
  if (all('expect').length > 1 || all('upgrade').length > 1) statuses.add(400)
  const host = readHost(all('host'), target.authority, minor, statuses)
  const framing = readFraming(all('content-length'), all('transfer-encoding'), minor, statuses)
  const says = (option: string) => listOf(all('connection')).includes(option)
  const closes = says('close') || (minor === 0 && !says('keep-alive'))
  const kept = fields.filter(([name]) => goesOn(name.toLowerCase(), minor, options))
  return {
    statuses,
    framing,
    request: {
      ...{ method, minor, host, closes, target: target.origin },
      upgrade: minor === 1 && options.includes('upgrade') ? upgradeOf(all('upgrade')) : '',
      fields: kept.map(([name, value]) => [name.toLowerCase(), value]),
    },
  }
}

/** Not to HTTP/2, whose frames nobody here would look into. */
const upgradeOf = ([protocols = '']: readonly string[]): string =>
  listOf([protocols]).some((protocol) => /^h2c?$/.test(protocol)) ? '' : protocols

function goesOn(name: string, minor: number, options: readonly string[]): boolean {
  if (name === 'host' || NOT_FORWARDED.has(name) || options.includes(name)) return false
  if (name.includes('_') && NOT_WITH_UNDERSCORES.has(name.replaceAll('_', '-'))) return false
  return name !== 'expect' || minor === 1
}

function readRequestLine(line: string, statuses: Set<number>) {
  const none = { method: '', target: { origin: '', authority: '' }, minor: 1 }
  const [, method, target, major, minor] = REQUEST_LINE.exec(line) ?? []
  if (method === undefined) {
    statuses.add(400)
    if (line.length > limits.TARGET_BYTES_MAX) statuses.add(414)
    return none
  }
  if (method.length > limits.METHOD_BYTES_MAX) statuses.add(400)
  if (target!.length > limits.TARGET_BYTES_MAX) statuses.add(414)
  if (major !== '1' || (minor !== '0' && minor !== '1')) statuses.add(505)
  if (method === 'CONNECT') statuses.add(501)
  return { method, target: readTarget(method, target!, statuses), minor: Number(minor) }
}

/** RFC 9112 3.2. */
function readTarget(method: string, target: string, statuses: Set<number>) {
  if (target.startsWith('/') || (target === '*' && method === 'OPTIONS'))
    return { origin: target, authority: '' }
  const [, authority, rest] = /^https?:\/\/([^/?]*)(.*)$/i.exec(target) ?? []
  if (authority === undefined || !isHost(authority)) {
    statuses.add(400)
    return { origin: '', authority: '' }
  }
  if (rest === '' && method === 'OPTIONS') return { origin: '*', authority }
  return { origin: rest!.startsWith('/') ? rest! : `/${rest}`, authority }
}

function isHost(text: string): boolean {
  const [, host, port] = HOST.exec(text) ?? []
  if (host === undefined || Number(port ?? 0) > 65_535) return false
  return !host.startsWith('[') || isIPv6(host.slice(1, -1))
}

function readHost(
  hosts: readonly string[],
  authority: string,
  minor: number,
  statuses: Set<number>,
): string {
  if (hosts.length > 1 || (hosts.length === 0 && minor !== 0)) statuses.add(400)
  const host = hosts[0] ?? authority
  if (hosts.length > 0 && !isHost(host)) statuses.add(400)
  if (authority !== '' && authority.toLowerCase() !== host.toLowerCase()) statuses.add(400)
  return host
}

/** RFC 9112 6.3. */
function readFraming(
  lengths: readonly string[],
  codings: readonly string[],
  minor: number,
  statuses: Set<number>,
): number | 'chunked' {
  if (lengths.length > 1 || lengths.some((length) => !/^[0-9]{1,15}$/.test(length)))
    statuses.add(400)
  if (codings.length === 0) return Number(lengths[0] ?? 0)
  if (lengths.length > 0 || minor === 0 || codings.length > 1) statuses.add(400)
  for (const value of codings) {
    const all = value
      .toLowerCase()
      .split(',')
      .map((c) => c.replace(/^[ \t]+|[ \t]+$/g, ''))
    const others = all.slice(0, -1).map((c) => c.replace(/[ \t]*;.*$/, ''))
    if (all.at(-1) !== 'chunked') statuses.add(400)
    else if (others.some((c) => c === 'chunked' || !new RegExp(`^${TOKEN}$`).test(c)))
      statuses.add(400)
    else if (others.length > 0) statuses.add(501)
  }
  return 'chunked'
}

const listOf = (values: readonly string[]): string[] =>
  values
    .flatMap((value) => value.split(','))
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, '').toLowerCase())
    .filter((member) => member !== '')

interface ReadBody {
  readonly content: string
  readonly trailers: readonly Field[]
  readonly next: number
}

function readBody(text: string, at: number, { framing }: ReadHead): Stop | ReadBody {
  if (framing === 'chunked') return readChunks(text, at)
  const next = at + framing
  if (next > text.length) return UNFINISHED
  return { content: text.slice(at, next), trailers: [], next }
}

/** RFC 9112 7.1. What ends within a line is unfinished here, even when it is wrong already. */
export function readChunks(text: string, from: number): Stop | ReadBody {
  let content = ''
  let extensionBytes = 0
  for (let at = from; ; ) {
    const line = lineAt(text, at)
    if (line === null) return UNFINISHED
    const [, size, extensions] = CHUNK_LINE.exec(line) ?? []
    if (size === undefined) return refused(400)
    extensionBytes += extensions!.length
    if (extensionBytes > limits.CHUNK_EXTENSION_BYTES_MAX) return refused(400)
    at += line.length + 2
    const length = Number.parseInt(size, 16)
    if (length === 0) return readTrailers(text, at, content)
    const end = at + length
    if (end >= text.length || text.slice(end) === '\r') return UNFINISHED
    if (!text.startsWith('\r\n', end)) return refused(400)
    content += text.slice(at, end)
    at = end + 2
  }
}

function readTrailers(text: string, from: number, content: string): Stop | ReadBody {
  const trailers: Field[] = []
  for (let at = from; ; ) {
    const line = lineAt(text, at)
    if (line === null) return UNFINISHED
    at += line.length + 2
    if (at - from > limits.TRAILER_BYTES_MAX) return refused(400)
    if (line === '') return { content, trailers, next: at }
    const [, name, value] = FIELD_LINE.exec(line) ?? []
    if (name === undefined || NOT_IN_TRAILERS.test(name.toLowerCase().replaceAll('_', '-')))
      return refused(400)
    trailers.push([name.toLowerCase(), value!.replace(/^[ \t]+|[ \t]+$/g, '')])
  }
}

/** Up to the next CR or LF, of which only CRLF ends a line: whatever else it is, it is in the line. */
function lineAt(text: string, at: number): string | null {
  const end = /[\r\n]/g
  end.lastIndex = at
  const found = end.exec(text)
  if (!found || (found[0] === '\r' && found.index + 1 === text.length)) return null
  if (text.startsWith('\r\n', found.index)) return text.slice(at, found.index)
  return text.slice(at, found.index + 1)
}
