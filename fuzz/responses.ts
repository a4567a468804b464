import {
  chunked,
  cut,
  type Message,
  randomContent,
  randomField,
  spoilMessage,
  spoilText,
  textOf,
} from './grammar.ts'
import { Random } from './random.ts'

/** What an app says to one request, write by write, and what it does then. */
export interface ResponseCase {
  /** How it is asked for. Mostly by what the edge does not ask twice for, because that takes time. */
  readonly method: 'GET' | 'HEAD' | 'POST'
  /** One char is one octet. */
  readonly segments: readonly string[]
  readonly then: 'stays' | 'closes'
}

const STATUSES = [
  ...['200 OK', '200 OK', '200 OK', '200 ', '200', '201 Created', '404 Not Found', '500 \xe9'],
  ...['204 No Content', '304 Not Modified', '205 Reset Content', '999 Odd', '426 Upgrade Required'],
  ...['206 Partial Content', '401 Unauthorized', '416 Range Not Satisfiable'],
]
const STATUSES_ODD = [
  ...[
    '20 OK',
    '2000 OK',
    '099 X',
    '2x0 OK',
    '200\tOK',
    ' 200 OK',
    '200 O\0K',
    '200 O\nK',
    '-20 OK',
  ],
  ...['101 Switching Protocols', '100 Continue', '103 Early Hints', '000 X', '', '200 OK\r'],
]
const VERSIONS_ODD = [
  'HTTP/1.0',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2',
  'http/1.1',
  'ICY',
  'HTTP/1.1 ',
  '',
]
const INTERIM = [
  ...['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'],
  ...[
    'HTTP/1.1 102 X\r\nContent-Length: 5\r\n\r\n',
    'HTTP/1.1 199 \r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
]
const FIELDS = [
  ...[
    'Server: app',
    'Date: Thu, 01 Jan 1970 00:00:00 GMT',
    'Via: 1.1 inner',
    'Set-Cookie: a=b',
    'Set-Cookie: c=d',
  ],
  ...['Connection: close', 'Connection: keep-alive', 'Connection: X-Same', 'Keep-Alive: timeout=5'],
  ...[
    'Fly-Request-Id: forged',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Proxy-Authenticate: Basic',
  ],
  ...[
    'Location: /x',
    'ETag: "a"',
    'Content-Type: text/plain',
    'WWW-Authenticate: Basic realm="a, b"',
    'Trailer: X-Sum',
  ],
]
const EXTRA = ['x', 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled', '\r\n', '0\r\n\r\n']

/** Case `k` of a seed. */
export function responseCase(seed: number, k: number): ResponseCase {
  const random = new Random(seed, k)
  const method = random.chance(0.1) ? random.pick(['GET', 'HEAD', 'HEAD'] as const) : 'POST'
  let faults = random.pick([0, 0, 0, 1, 1, 1, 2, 3])
  const message: Message = { start: `HTTP/1.1 ${random.pick(STATUSES)}`, fields: [], body: '' }
  for (let n = random.below(5); n > 0; n--) addField(random, message, randomField(random))
  for (let n = random.below(3); n > 0; n--) addField(random, message, random.pick(FIELDS))
  let then: ResponseCase['then'] = random.chance(0.15) ? 'closes' : 'stays'
  const wrongChunks = faults > 0 && random.chance(0.4)
  if (wrongChunks) faults--
  const content = randomContent(random)
  const framing = random.pick(['length', 'length', 'chunked', 'chunked', 'close'])
  // What HEAD asks for and a 304 does without is said all the same.
  const isBodiless = method === 'HEAD' || /^HTTP\/1.1 (204|304)/.test(message.start)
  if (framing === 'chunked') {
    message.body = chunked(random, content, wrongChunks ? 0.15 : 0)
    addField(random, message, 'Transfer-Encoding: chunked')
  } else {
    message.body = content
    if (framing === 'length') addField(random, message, `Content-Length: ${content.length}`)
    else then = 'closes'
  }
  if (isBodiless && random.chance(0.9)) message.body = ''
  let text = ''
  for (; faults > 0; faults--) text = spoil(random, message, text)
  text ||= textOf(message)
  if (random.chance(0.1)) text = random.pick(INTERIM) + text
  if (random.chance(0.02)) text = random.pick(INTERIM).repeat(random.between(2, 20)) + text
  if (random.chance(0.04)) text += random.pick(EXTRA)
  if (random.chance(0.05)) {
    text = text.slice(0, random.below(text.length))
    then = 'closes'
  }
  return { method, segments: cut(random, text), then }
}

const addField = (random: Random, { fields }: Message, field: string): void => {
  fields.splice(random.below(fields.length + 1), 0, field)
}

function spoil(random: Random, message: Message, text: string): string {
  if (text !== '') return spoilText(random, text)
  const status = message.start.slice(message.start.indexOf(' ') + 1)
  switch (random.below(8)) {
    case 0:
      message.start = `HTTP/1.1 ${random.pick(STATUSES_ODD)}`
      return ''
    case 1:
      message.start = `${random.pick(VERSIONS_ODD)} ${status}`
      return ''
    case 2:
      addField(random, message, random.pick(FIELDS))
      return ''
    case 3:
      return textOf(message, random.pick(['\n', '\n', '\r', '\r\n\r\n', '\n\r', '\r\r\n']))
    case 4:
      return spoilText(random, textOf(message))
    default:
      spoilMessage(random, message)
      return ''
  }
}
