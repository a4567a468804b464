import * as limits from '../src/proxy/limits.ts'
import { type Field, readChunks } from './reference.ts'
import type { ResponseCase } from './responses.ts'

/** Responses read a second time (see reference.ts): what a client of the edge has to get. */
export type ReferenceResponse =
  | {
      readonly kind: 'whole'
      readonly status: number
      readonly reason: string
      /** End to end, names in lower case, without what the edge says itself. */
      readonly fields: readonly Field[]
      readonly body: string
      /** The app said more than the response. */
      readonly hasMore: boolean
      readonly hasDate: boolean
      readonly endsByClose: boolean
    }
  /** A head that is none: 502. */
  | { readonly kind: 'bad' }
  /** A head, and a body that is malformed or too short: 502 or a reset, never a whole response. */
  | { readonly kind: 'broken' }

export interface Read {
  readonly response: ReferenceResponse
  /** Statuses of the interim responses before it, or before what is wrong. */
  readonly interim: readonly number[]
  /** The app has to close, or everybody waits. */
  readonly needsClose: boolean
}

interface Head {
  readonly minor: number
  readonly status: number
  readonly reason: string
  readonly fields: readonly Field[]
  readonly all: (name: string) => string[]
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const FIELD_LINE = new RegExp(`^(${TOKEN}):([\\t\\x20-\\x7e\\x80-\\xff]*)$`)
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/
const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'upgrade']
const EDGE_OWN = ['server', 'fly-request-id']
const bad = (interim: readonly number[], needsClose = false): Read => ({
  ...{ response: { kind: 'bad' }, interim, needsClose },
})

export function readResponse({ method, segments }: ResponseCase): Read {
  const text = segments.join('')
  const interim: number[] = []
  for (let at = 0; ; ) {
    const end = text.indexOf('\r\n\r\n', at)
    if (end < 0) return bad(interim, !isHopeless(text.slice(at)))
    const head = readHead(text.slice(at, end).split('\r\n'))
    if (head === null || head.status === 101) return bad(interim)
    at = end + 4
    if (head.status >= 200) return readBody(text, at, head, method, interim)
    if (interim.push(head.status) > limits.INTERIM_RESPONSES_MAX)
      return bad(interim.slice(0, limits.INTERIM_RESPONSES_MAX))
  }
}

/** What will never be a head is known at once. */
function isHopeless(text: string): boolean {
  if (text.length > limits.HEAD_BYTES_MAX || /(^|[^\r])\n/.test(text)) return true
  return !'HTTP/1.'.startsWith(text.slice(0, 7))
}

function readHead([first, ...lines]: string[]): Head | null {
  const [, minor, status, reason] = STATUS_LINE.exec(first!) ?? []
  if (minor === undefined || lines.length > limits.HEADER_COUNT_MAX) return null
  const fields: [string, string][] = []
  for (const line of lines) {
    const [, name, value] = FIELD_LINE.exec(line) ?? []
    if (name === undefined) return null
    fields.push([name.toLowerCase(), value!.replace(/^[ \t]+|[ \t]+$/g, '')])
  }
  const all = (name: string) => fields.filter(([n]) => n === name).map(([, value]) => value)
  const head = { minor: Number(minor), status: Number(status), reason: reason ?? '', fields, all }
  return isFramed(head) ? head : null
}

/** RFC 9112 6.3: one framing, that can be read in one way. */
function isFramed({ minor, all }: Head): boolean {
  const lengths = all('content-length')
  const codings = all('transfer-encoding')
  if (lengths.length > 1 || lengths.some((length) => !/^[0-9]{1,15}$/.test(length))) return false
  if (codings.some((coding) => coding.toLowerCase() !== 'chunked') || codings.length > 1)
    return false
  if (codings.length > 0 && (lengths.length > 0 || minor === 0)) return false
  return !optionsOf(all).some((o) => o === 'content-length' || o === 'transfer-encoding')
}

function readBody(
  text: string,
  at: number,
  head: Head,
  method: string,
  interim: readonly number[],
): Read {
  const { status, reason, all } = head
  const whole = (body: string, hasMore: boolean, endsByClose = false): Read => ({
    response: {
      ...{ kind: 'whole', status, reason, fields: endToEnd(head), body, hasMore, endsByClose },
      hasDate: all('date').length > 0,
    },
    ...{ interim, needsClose: endsByClose },
  })
  const broken = (needsClose: boolean): Read => ({
    ...{ response: { kind: 'broken' }, interim, needsClose },
  })
  if (method === 'HEAD' || status === 204 || status === 304) return whole('', at < text.length)
  if (all('transfer-encoding').length > 0) {
    const body = readChunks(text, at)
    if ('end' in body) return broken(body.end === 'unfinished')
    return whole(body.content, body.next < text.length)
  }
  const length = all('content-length')[0]
  if (length === undefined) return whole(text.slice(at), false, true)
  const next = at + Number(length)
  return next > text.length ? broken(true) : whole(text.slice(at, next), next < text.length)
}

function optionsOf(all: Head['all']): string[] {
  return all('connection')
    .flatMap((value) => value.split(','))
    .map((option) => option.replace(/^[ \t]+|[ \t]+$/g, '').toLowerCase())
    .filter((option) => option !== 'close' && option !== 'keep-alive' && option !== '')
}

/** What frames goes on in one spelling. */
const SPELLING: Readonly<Record<string, (value: string) => string>> = {
  'content-length': (value) => String(Number(value)),
  'transfer-encoding': (value) => value.toLowerCase(),
}

function endToEnd({ status, fields, all }: Head): Field[] {
  const gone = new Set([...HOP_BY_HOP, ...EDGE_OWN, ...optionsOf(all)])
  if (status === 204) gone.add('content-length').add('transfer-encoding')
  return fields
    .filter(([name]) => !gone.has(name))
    .map(([name, value]) => [name, SPELLING[name]?.(value) ?? value])
}
