import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { pino } from 'pino'
import { decode, encode } from './codec.ts'
import { address, CLASS_IN, type Message, RCODE, respond, TYPE } from './records.ts'
import { type DnsHandler, type DnsLimits, type DnsServer, startDnsServer } from './server.ts'

const log = pino({ level: 'silent' })
const servers: DnsServer[] = []
after(() => Promise.all(servers.map((s) => s.close())))

async function serve(
  handler: DnsHandler,
  limits: Partial<DnsLimits> = {},
  allow?: (address: string) => boolean,
) {
  const server = await startDnsServer({
    addresses: ['127.0.0.1'],
    port: 0,
    handler,
    log,
    limits,
    allow,
  })
  servers.push(server)
  return server.port
}

const query = (name: string, fields: Partial<Message> = {}): Buffer =>
  encode({
    ...respond({ id: 9, opcode: 0, recursionDesired: true, checkingDisabled: false } as Message),
    response: false,
    questions: [{ name, type: TYPE.A, class: CLASS_IN }],
    edns: null,
    ...fields,
  })

function udp(port: number, bytes: Uint8Array, waitMs = 2_000): Promise<Message | 'silence'> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    const timer = setTimeout(() => end('silence'), waitMs)
    const end = (result: Message | 'silence') => {
      clearTimeout(timer)
      socket.close()
      resolve(result)
    }
    socket.on('message', (reply) => {
      assert.ok(reply.length <= 1_232)
      end(decode(reply))
    })
    socket.send(bytes, port, '127.0.0.1')
  })
}

/** Sends bytes as they are, half-closes, and returns the frames that come back. */
function tcp(port: number, bytes: Uint8Array): Promise<Message[]> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true }, () =>
      socket.end(bytes),
    )
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      const all = Buffer.concat(chunks)
      const messages: Message[] = []
      for (let at = 0; at < all.length; at += 2 + all.readUInt16BE(at))
        messages.push(decode(all.subarray(at + 2, at + 2 + all.readUInt16BE(at))))
      resolve(messages)
    })
  })
}

const frame = (bytes: Buffer) =>
  Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])

const many: DnsHandler = (q) =>
  respond(q, {
    answers: Array.from({ length: 100 }, (_, i) =>
      address(q.questions[0]!.name, 5, `192.0.2.${i}`),
    ),
  })

test('an answer that is too long is truncated by UDP and whole by TCP', async () => {
  const port = await serve(many)
  const short = (await udp(port, query('a.test'))) as Message
  assert.deepEqual([short.truncated, short.answers.length, short.id], [true, 0, 9])
  const edns = { version: 0, udpBytes: 65_535, dnssecOk: false }
  const large = (await udp(port, query('a.test', { edns }))) as Message
  assert.deepEqual([large.truncated, large.edns?.udpBytes], [true, 1_232])
  const [whole] = await tcp(port, frame(query('a.test')))
  assert.deepEqual([whole!.truncated, whole!.answers.length], [false, 100])
})

test('TCP: several queries in one connection, in pieces', async () => {
  const port = await serve((q) => respond(q), { pipelineMax: 2 })
  const bytes = Buffer.concat([1, 2, 3, 4, 5].map((id) => frame(query('a.test', { id }))))
  const answers = await tcp(port, bytes)
  assert.deepEqual(answers.map((m) => m.id).toSorted(), [1, 2, 3, 4, 5])
  assert.deepEqual(await tcp(port, Buffer.from([0xff, 0xff, 1])), [], 'too long: closed')
})

test('what is no proper query has its code, and answers are never answered', async () => {
  const port = await serve((q) => respond(q))
  const edns = { version: 1, udpBytes: 512, dnssecOk: false }
  const question = { name: 'a.test', type: TYPE.AXFR, class: CLASS_IN }
  const cases: [string, Buffer, number][] = [
    ['opcode', query('a.test', { opcode: 5 }), RCODE.NOTIMP],
    ['no question', query('a.test', { questions: [] }), RCODE.FORMERR],
    ['EDNS version', query('a.test', { edns }), RCODE.BADVERS],
    ['transfer', query('a.test', { questions: [question] }), RCODE.REFUSED],
    [
      'chaos',
      query('a.test', { questions: [{ name: 'a.test', type: 1, class: 3 }] }),
      RCODE.REFUSED,
    ],
    ['garbage', Buffer.concat([query('a.test'), Buffer.from('x')]), RCODE.FORMERR],
  ]
  for (const [what, bytes, rcode] of cases)
    assert.equal(((await udp(port, bytes)) as Message).rcode, rcode, what)
  assert.equal(await udp(port, query('a.test', { response: true }), 50), 'silence')
  assert.equal(await udp(port, Buffer.from('short'), 50), 'silence')
})

test('a handler that throws is SERVFAIL; strangers and a crowd are refused', async () => {
  const failing = await serve(() => {
    throw new Error('no')
  })
  assert.equal(((await udp(failing, query('a.test'))) as Message).rcode, RCODE.SERVFAIL)
  const closed = await serve(
    (q) => respond(q),
    {},
    () => false,
  )
  assert.equal(((await udp(closed, query('a.test'))) as Message).rcode, RCODE.REFUSED)
  assert.deepEqual(await tcp(closed, frame(query('a.test'))), [])
  let release = () => {}
  const busy = await serve((q) => new Promise((r) => (release = () => r(respond(q)))), {
    activeMax: 1,
  })
  const first = udp(busy, query('a.test'))
  while (((await udp(busy, query('b.test'))) as Message).rcode !== RCODE.REFUSED);
  release()
  assert.equal(((await first) as Message).rcode, RCODE.NOERROR)
})

test('idle connections end, and one client cannot have them all', async () => {
  const port = await serve((q) => respond(q), { idleMs: 50, connectionsPerClientMax: 1 })
  const idle = connect({ host: '127.0.0.1', port })
  await new Promise((r) => idle.once('connect', r))
  assert.deepEqual(await tcp(port, frame(query('a.test'))), [])
  await new Promise((r) => idle.once('close', r))
  assert.equal((await tcp(port, frame(query('a.test')))).length, 1)
})
