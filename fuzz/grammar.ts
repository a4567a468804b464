import type { Random } from './random.ts'

/** What requests and responses have in common: fields, bodies, chunks, and how all of it goes wrong. */

export interface Message {
  /** The first line, without its end. */
  start: string
  fields: string[]
  /** With its framing: as it goes over the wire. */
  body: string
}

const TOKEN = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!#$%&'*+.^`|~"
const VALUE = 'abc XYZ019\t,;="/()<>@:[]{}\\\x80\x85\xa0\xe9\xff'
const BODY = 'abc \r\n\0\x0b\xff0123:;GETHTTP/1.1'

/** Bodies that would be a message if anybody lost count. */
export const SMUGGLED = [
  'GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n',
  '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n',
  '\r\n\r\nPOST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled',
  '5\r\nhello\r\n0\r\n\r\n',
]

const FIELDS = [
  ...['Accept: */*', 'User-Agent: fuzz/1', 'Cookie: a=b; c="d"', 'Accept-Encoding: gzip, br'],
  ...['X-Empty:', 'X-Spaces: \t a  b\t ', 'X-Text: \xe9\xa0\x85', `X-Long: ${'l'.repeat(2_000)}`],
  ...[
    'Via: 1.0 other',
    'Forwarded: for=1.2.3.4',
    'Cache-Control: no-store',
    'X-Same: 1',
    'x-same: 2',
  ],
  ...['Keep-Alive: timeout=5', 'TE: trailers', 'Trailer: X-Sum', 'Proxy-Connection: keep-alive'],
  ...['Range: bytes=0-', 'If-None-Match: "a"', 'Accept-Language: en', 'Authorization: Basic YTpi'],
]

export function randomField(random: Random): string {
  if (random.chance(0.7)) return random.pick(FIELDS)
  const space = random.pick(['', ' ', ' ', ' ', '\t', '  '])
  return `X-${random.text(TOKEN, 12)}:${space}${random.text(VALUE, 30)}`
}

export function randomContent(random: Random): string {
  if (random.chance(0.3)) return random.pick(SMUGGLED)
  if (random.chance(0.05)) return random.text(BODY, 20).repeat(random.between(1_000, 8_000))
  return random.text(BODY, 60)
}

export const EXTENSIONS = [
  ...[';a', ';a=b', ';a="b"', ';a="b;\\"c"', ';a=b;c=d', ';a=""'],
  ...[';', ';=', ';a=', ';;a', '; a', ';a ', ';a="', ';a=b"', ' ;a', ';a="b"c', ';a\x01', ';\xff'],
]
const EXTENSIONS_GOOD = 6
const TRAILERS = ['X-Sum: 1', 'x-other:  2 ', 'X-Empty:', 'Content-MD5: abc', 'X-Text: \xe9']
const TRAILERS_BAD = [
  ...['Content-Length: 5', 'Transfer-Encoding: chunked', 'Host: b', 'Fly-Client-IP: 6.6.6.6'],
  ...[
    'X : 1',
    ' X: 1',
    'X',
    ': 1',
    'X: a\nY: b',
    'X: a\0',
    'content_length: 5',
    'Connection: close',
  ],
]
const SIZES_BAD = [
  ...[
    '',
    ' ',
    '0x',
    '+',
    '-',
    '00000000000000',
    'g',
    '5 ',
    ' 5',
    '5\t',
    '\n',
    'ffffffffffffffff',
    '5_',
  ],
  ...['5,5', '5.', "'5'", '5\r', '\x0b5', '\xb2', '1e1'],
]

/** `content` in chunks; `faults`: with which probability each part of the framing is wrong. */
export function chunked(random: Random, content: string, faults: number): string {
  let out = ''
  for (let at = 0; at < content.length; ) {
    const size = Math.min(
      content.length - at,
      random.between(1, content.length > 1_000 ? 9_000 : 20),
    )
    out += chunk(random, size, content.slice(at, at + size), faults)
    at += size
  }
  out += chunkSize(random, 0, faults)
  for (let n = random.chance(0.2) ? random.between(1, 3) : 0; n > 0; n--)
    out += `${random.pick(random.chance(faults) ? TRAILERS_BAD : TRAILERS)}${end(random, faults)}`
  return out + end(random, faults)
}

function chunk(random: Random, size: number, data: string, faults: number): string {
  const wrong = random.chance(faults) ? random.pick([-1, 1, 2]) : 0
  return `${chunkSize(random, Math.max(0, size + wrong), faults)}${data}${end(random, faults)}`
}

function chunkSize(random: Random, size: number, faults: number): string {
  const zeros = random.chance(0.05) ? '000' : ''
  const hex = size.toString(16)
  const digits = zeros + (random.chance(0.3) ? hex.toUpperCase() : hex)
  const written = random.chance(faults)
    ? `${random.pick(SIZES_BAD)}${random.chance(0.5) ? digits : ''}`
    : digits
  const extensions = random.chance(faults) ? EXTENSIONS : EXTENSIONS.slice(0, EXTENSIONS_GOOD)
  const extension = random.chance(Math.max(0.1, faults)) ? random.pick(extensions) : ''
  return `${written}${extension}${end(random, faults)}`
}

const ENDS_BAD = ['\n', '\r', '', '\r\r\n', '\n\r', ' \r\n', '\r\n\r\n', '\x0b']
const end = (random: Random, faults: number): string =>
  random.chance(faults / 2) ? random.pick(ENDS_BAD) : '\r\n'

const FRAMINGS = [
  ...[
    'Content-Length: 0',
    'Content-Length: 5',
    'content-length: 5',
    'Content-Length: +5',
    'Content-Length: -1',
  ],
  ...[
    'Content-Length: 5, 5',
    'Content-Length: 0x5',
    'Content-Length: 5 5',
    'Content-Length:',
    'Content-Length: 05',
  ],
  ...[
    'Content-Length: 18446744073709551621',
    'Content-Length: 5.0',
    'Content-Length: \xa05',
    'Content-Length : 5',
  ],
  ...[
    'Content-Length: 5;a',
    'Content-Length: 1e1',
    'Content_Length: 5',
    'Content-Length\t: 5',
    'Content-Length: 5\x0b',
  ],
  ...[
    'Transfer-Encoding: chunked',
    'transfer-encoding: CHUNKED',
    'Transfer-Encoding: chunked, chunked',
  ],
  ...[
    'Transfer-Encoding: gzip, chunked',
    'Transfer-Encoding: chunked, gzip',
    'Transfer-Encoding: identity',
  ],
  ...[
    'Transfer-Encoding: xchunked',
    'Transfer-Encoding: chunked ;a',
    'Transfer-Encoding: "chunked"',
  ],
  ...[
    'Transfer-Encoding:\x0bchunked',
    'Transfer-Encoding: chunked\x0b',
    'Transfer-Encoding : chunked',
  ],
  ...[
    'Transfer-Encoding: chunked\t',
    'Transfer-Encoding:chunked',
    'Transfer-Encoding: \xa0chunked',
  ],
  ...[
    'Transfer_Encoding: chunked',
    'Transfer-Encoding:',
    'Transfer-Encoding: ,chunked',
    'Transfer-Encoding: chunked,',
  ],
  ...[
    'Transfer-Encoding: identity, chunked',
    'X: y\nTransfer-Encoding: chunked',
    ' Transfer-Encoding: chunked',
  ],
  ...[
    'X: y\r Transfer-Encoding: chunked',
    'Transfer-Encoding\0: chunked',
    'Transfer-Encodin\xc7: chunked',
  ],
  ...[
    'Connection: close',
    'Connection: keep-alive',
    'Connection: X-Same',
    'Connection: close, x-same',
  ],
  ...[
    'Connection: content-length',
    'Connection: transfer-encoding, x',
    'Connection:',
    'Connection: upgrade',
  ],
  ...[
    'X: a\r\n b',
    'X: a\r\n\tb',
    'X: a\rb',
    'X: a\nb',
    'X: a\0b',
    'X\0: a',
    'X: \x7f',
    'X',
    ': x',
    'X Y: a',
    'X\xe9: a',
  ],
  ...[
    'Upgrade: websocket',
    'Connection: Upgrade',
    'X[]: a',
    '"X": a',
    'X: a\x0cb',
    '\tX: a',
    'X:\ta',
  ],
]

const BITS = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\n\n',
    '\r\r\n',
    '\0',
    ' ',
    '\t',
    '\x0b',
    '\x0c',
    '\x7f',
    '\x80',
    '\xa0',
    '\xff',
  ],
  ...[
    ':',
    ',',
    ';',
    '=',
    '"',
    '0',
    '-',
    '+',
    '_',
    '#',
    '%',
    '%00',
    '/',
    '\\',
    '@',
    '0\r\n\r\n',
    'HTTP/1.1',
    'chunked',
  ],
]

/** One thing that may be wrong with a message; it may also stay right. */
export function spoilMessage(random: Random, message: Message): void {
  const { fields } = message
  const at = random.below(fields.length + 1)
  switch (random.below(5)) {
    case 0:
      fields.splice(at, 0, random.pick(FRAMINGS))
      break
    case 1:
      fields.splice(at, 0, random.pick(FRAMINGS), random.pick(FRAMINGS))
      break
    case 2:
      if (fields.length > 0) fields.splice(at, 0, random.pick(fields))
      break
    case 3:
      fields.splice(at, 1)
      break
    default:
      if (at < fields.length) fields[at] = spoilText(random, fields[at]!)
  }
}

/** Octets changed, put in, taken out or repeated anywhere. */
export function spoilText(random: Random, text: string): string {
  const at = random.below(text.length + 1)
  const length = Math.min(text.length - at, random.pick([1, 1, 1, 2, 4, 20]))
  const before = text.slice(0, at)
  const part = text.slice(at, at + length)
  const after = text.slice(at + length)
  switch (random.below(5)) {
    case 0:
      return before + random.pick(BITS) + part + after
    case 1:
      return before + after
    case 2:
      return before + part + part + after
    case 3:
      return before + random.pick(BITS) + after
    default:
      return before + String.fromCharCode(random.below(256)) + after
  }
}

export const textOf = ({ start, fields, body }: Message, eol = '\r\n'): string =>
  [start, ...fields, '', ''].join(eol) + body

/** The same octets in one write, or in several. */
export function cut(random: Random, text: string): string[] {
  const parts: string[] = []
  const most = random.chance(0.7) ? 1 : random.between(2, 5)
  let rest = text
  while (parts.length < most - 1 && rest.length > 1) {
    const at = random.between(1, rest.length - 1)
    parts.push(rest.slice(0, at))
    rest = rest.slice(at)
  }
  return [...parts, rest].filter((part) => part !== '')
}
