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

/** What a client sends on one connection, write by write. One char is one octet. */
export type RequestCase = readonly string[]

const METHODS = [
  ...[
    'GET',
    'GET',
    'GET',
    'POST',
    'POST',
    'POST',
    'PUT',
    'DELETE',
    'HEAD',
    'OPTIONS',
    'PATCH',
    'TRACE',
  ],
  ...['PROPFIND', 'M-SEARCH', 'PURGE'],
]
const METHODS_ODD = ['get', 'FOO', 'G!T', 'CONNECT', 'A'.repeat(40), 'G(T', '', 'PRI']
const TARGETS = [
  ...[
    '/',
    '/',
    '/a/b',
    '/a?b=c&d=%20',
    '/a|{}^`"<>',
    '/%41%2e',
    '//a//b',
    '/a;b=c',
    '/?',
    '/a?b?c/../d',
  ],
  ...['http://a.test/x', 'HTTP://A.test', 'https://a.test?q', `/${'p'.repeat(3_000)}`],
]
const TARGETS_ODD = [
  ...[
    '*',
    '',
    'x',
    '/a b',
    '/a#b',
    '/\xe9',
    '/a\tb',
    '/%',
    '/%zz',
    '/%00',
    '/../x',
    '/a/../../x',
    'a.test:80',
  ],
  ...[
    'http://b.test/',
    'http://a.test:80/',
    'http://u@a.test/',
    'http:///x',
    'ftp://a.test/',
    '/\\..\\x',
    '?x',
  ],
  ...[
    'http://a.test\\b/',
    'http://a.test#/',
    `/${'t'.repeat(17_000)}`,
    '/a\0b',
    '/\x7f',
    '/ HTTP/1.1 ',
  ],
]
const VERSIONS_ODD = [
  'HTTP/1.0',
  'HTTP/1.0',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.10',
  'HTTP/1.1 ',
  '',
  'HTTP/01.1',
  'HTTP/1',
]
const HOSTS_ODD = [
  ...[
    '',
    'b.test',
    'a.test:80',
    'a.test:',
    'a.test:x',
    'a.test:99999',
    'a.test, b.test',
    'u@a.test',
    'a.test/x',
  ],
  ...[
    '[::1]',
    '[::1',
    '[::1]:80',
    '[x]',
    '1.2.3.4',
    'a..b',
    '.',
    '-',
    'a_b',
    'a%20b',
    'a%zz',
    'a b',
    'a\tb',
    '\xe9',
    'a?b',
    'a#b',
  ],
  ...['A.TEST', ' a.test ', "a'b(c)*+;=", 'localhost', 'a.test.', 'a,b', '"a"', 'a\\b'],
]
const FIELDS = [
  ...[
    'Fly-Client-IP: 6.6.6.6',
    'Fly-Request-Id: forged',
    'fly_request_id: forged',
    'X-Forwarded-For: 6.6.6.6',
  ],
  ...[
    'X-Forwarded-Proto: https',
    'X_Forwarded_For: 6.6.6.6',
    'Fly-Region: xxx',
    'Fly-Forwarded-Port: 1',
  ],
  ...[
    'Expect: 100-continue',
    'Expect: 100-Continue',
    'Expect: something',
    'Upgrade: websocket',
    'Upgrade: h2c',
  ],
  ...[
    'Connection: Upgrade',
    'Connection: keep-alive',
    'Connection: close',
    'Connection: keep-alive, X-Same',
  ],
  ...[
    'HTTP2-Settings: AAMAAABkAAQAAP__',
    'X-Forwarded-Port: 7',
    'Max-Forwards: 0',
    'Connection: host',
  ],
  ...[
    'Proxy-Authorization: Basic eDp5',
    'Connection: expect',
    'Connection: x-forwarded-port, fly-region',
  ],
]

/** Case `k` of a seed. */
export function requestCase(seed: number, k: number): RequestCase {
  const random = new Random(seed, k)
  // Some of the cases are wrong nowhere, most in one place, a few in several.
  const faults = random.pick([0, 0, 0, 1, 1, 1, 2, 3])
  const count = random.pick([1, 1, 1, 2, 3])
  const spoiled = random.below(count)
  let text = random.chance(0.03) ? '\r\n' : ''
  for (let i = 0; i < count; i++) text += randomRequest(random, i === spoiled ? faults : 0)
  if (random.chance(0.03)) text = text.slice(0, random.between(1, text.length))
  return cut(random, text)
}

function randomRequest(random: Random, faults: number): string {
  let content = randomContent(random)
  const method = random.pick(METHODS)
  if (['GET', 'HEAD', 'TRACE'].includes(method) && random.chance(0.8)) content = ''
  const message: Message = {
    start: `${method} ${random.pick(TARGETS)} HTTP/1.1`,
    fields: ['Host: a.test'],
    body: content,
  }
  for (let n = random.below(5); n > 0; n--) addField(random, message, randomField(random))
  if (random.chance(0.15)) addField(random, message, random.pick(FIELDS))
  const wrongChunks = faults > 0 && random.chance(0.5)
  if (content !== '' || random.chance(0.1)) {
    const isChunked = random.chance(wrongChunks ? 0.9 : 0.5)
    if (isChunked) message.body = chunked(random, content, wrongChunks ? 0.15 : 0)
    addField(
      random,
      message,
      isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${content.length}`,
    )
  }
  let text = ''
  for (let n = wrongChunks ? faults - 1 : faults; n > 0; n--) text = spoil(random, message, text)
  return text || textOf(message)
}

const addField = (random: Random, { fields }: Message, field: string): void => {
  fields.splice(random.below(fields.length + 1), 0, field)
}

/** Spoils the parts, or the text when the choice falls on it: then the parts are done with. */
function spoil(random: Random, message: Message, text: string): string {
  if (text !== '') return spoilText(random, text)
  const [method, target] = message.start.split(' ')
  const hostAt = message.fields.findIndex((field) => field.startsWith('Host:'))
  switch (random.below(10)) {
    case 0:
      message.start = `${random.pick(METHODS_ODD)} ${target} HTTP/1.1`
      return ''
    case 1:
      message.start = `${method} ${random.pick(TARGETS_ODD)} HTTP/1.1`
      return ''
    case 2:
      message.start = `${method} ${target} ${random.pick(VERSIONS_ODD)}`
      return ''
    case 3:
      if (hostAt >= 0) message.fields[hostAt] = `Host: ${random.pick(HOSTS_ODD)}`
      return ''
    case 4:
      addField(random, message, random.pick(FIELDS))
      return ''
    case 5:
      return textOf(message, random.pick(['\n', '\n', '\r', '\r\n\r\n', '\n\r', '\r\r\n']))
    case 6:
      return spoilText(random, textOf(message))
    default:
      spoilMessage(random, message)
      return ''
  }
}
