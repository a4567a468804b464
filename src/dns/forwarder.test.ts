import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { after, test } from 'node:test'
import { pino } from 'pino'
import { AnswerCache, cacheTtl } from './cache.ts'
import { decode, encode } from './codec.ts'
import { forwardingHandler, isMachine } from './forwarder.ts'
import {
  address,
  addressText,
  CLASS_IN,
  type Message,
  RCODE,
  respond,
  soa,
  TYPE,
} from './records.ts'
import { type DnsHandler, type DnsServer, startDnsServer } from './server.ts'
import type { Upstream } from './upstream.ts'

const log = pino({ level: 'silent' })
const ends: (() => unknown)[] = []
after(() => Promise.all(ends.map((end) => end())))

async function upstream(handler: DnsHandler): Promise<Upstream> {
  const server: DnsServer = await startDnsServer({
    addresses: ['127.0.0.1'],
    port: 0,
    handler,
    log,
  })
  ends.push(() => server.close())
  return { address: '127.0.0.1', port: server.port }
}

/** A resolver that answers with whatever bytes `reply` makes of a query. */
function rawUpstream(reply: (query: Message) => Uint8Array[]): Promise<Upstream> {
  const socket = createSocket('udp4')
  ends.push(() => socket.close())
  socket.on('message', (bytes, from) => {
    for (const out of reply(decode(bytes))) socket.send(out, from.port, from.address)
  })
  return new Promise((resolve) =>
    socket.bind(0, '127.0.0.1', () =>
      resolve({ address: '127.0.0.1', port: socket.address().port }),
    ),
  )
}

const query = (name: string, type: number = TYPE.A): Message => ({
  ...respond({ id: 9, opcode: 0, recursionDesired: true, checkingDisabled: false } as Message),
  response: false,
  questions: [{ name, type, class: CLASS_IN }],
  edns: null,
})

const ok = (q: Message, ttl = 60) =>
  respond(q, { answers: [address(q.questions[0]!.name, ttl, '192.0.2.1')] })
const machine = { address: 'fdaa:0:1:a7b:1:0:1:2', protocol: 'udp' } as const
const soaRecord = (ttl: number, minimum: number) =>
  soa('test', ttl, {
    mname: 'ns.test',
    rname: 'h.test',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum,
  })

test('asks once, remembers, and counts the TTL down', async () => {
  let asked = 0
  let nowMs = 0
  const up = await upstream((q) => {
    asked += 1
    return ok(q)
  })
  const clock = { now: () => nowMs, sleep: async () => {} }
  const ask = forwardingHandler({ upstreams: [up], log, clock })
  const both = await Promise.all([ask(query('A.test'), machine), ask(query('a.TEST'), machine)])
  assert.deepEqual(
    both.map((m) => m.answers.map(addressText)),
    [['192.0.2.1'], ['192.0.2.1']],
  )
  assert.equal(both[0]!.questions[0]!.name, 'A.test')
  assert.equal(asked, 1)
  nowMs = 59_000
  assert.equal((await ask(query('a.test'), machine)).answers[0]!.ttl, 1)
  nowMs = 60_000
  await ask(query('a.test'), machine)
  assert.equal(asked, 2)
})

test('a long answer is fetched by TCP', async () => {
  const up = await upstream((q) =>
    respond(q, {
      answers: Array.from({ length: 200 }, (_, i) =>
        address(q.questions[0]!.name, 5, `192.0.2.${i}`),
      ),
    }),
  )
  const answer = await forwardingHandler({ upstreams: [up], log })(query('a.test'), machine)
  assert.equal(answer.answers.length, 200)
})

test('answers to other questions are ignored', async () => {
  const up = await rawUpstream((q) => [
    Buffer.from('garbage'),
    encode({ ...ok(q), id: q.id ^ 1 }),
    encode({ ...ok(q), response: false }),
    encode(respond({ ...q, questions: [{ ...q.questions[0]!, name: 'evil.test' }] })),
    encode(respond({ ...q, questions: [{ ...q.questions[0]!, type: TYPE.AAAA }] })),
    encode(ok(q)),
  ])
  const answer = await forwardingHandler({ upstreams: [up], log })(query('a.test'), machine)
  assert.deepEqual(answer.answers.map(addressText), ['192.0.2.1'])
})

test('a resolver that is silent, absent or fails is passed over', async () => {
  const silent = await rawUpstream(() => [])
  const absent = await rawUpstream(() => [])
  ends.splice(-1)[0]!()
  const failing = await upstream((q) => respond(q, { rcode: RCODE.SERVFAIL }))
  const good = await upstream((q) => ok(q))
  for (const bad of [silent, absent, failing]) {
    const ask = forwardingHandler({ upstreams: [bad, good], log, tryMs: 50 })
    assert.equal((await ask(query('a.test'), machine)).answers.length, 1)
    assert.equal((await ask(query('b.test'), machine)).answers.length, 1)
  }
  const alone = forwardingHandler({ upstreams: [failing], log, tryMs: 50 })
  assert.equal((await alone(query('a.test'), machine)).rcode, RCODE.SERVFAIL)
  const nobody = forwardingHandler({ upstreams: [silent], log, tryMs: 10 })
  await assert.rejects(async () => nobody(query('a.test'), machine), /no answer in 10 ms/)
})

test('private names are not asked of anybody', async () => {
  let asked = 0
  const up = await upstream((q) => {
    asked += 1
    return ok(q)
  })
  const ask = forwardingHandler({ upstreams: [up], log })
  for (const name of ['hello.internal', 'internal', 'App.Flycast']) {
    const answer = await ask(query(name, TYPE.AAAA), machine)
    assert.deepEqual([answer.rcode, answer.authorities[0]!.type], [RCODE.NXDOMAIN, TYPE.SOA])
  }
  assert.equal(asked, 0)
})

test('a machine has its share of questions, and all of them have a limit', async () => {
  const up = await rawUpstream(() => [])
  const hold = forwardingHandler({
    upstreams: [up],
    log,
    tryMs: 60,
    activeMax: 3,
    activePerClientMax: 2,
  })
  const refused = async (name: string, from: string) =>
    (await hold(query(name), { address: from, protocol: 'udp' })).rcode === RCODE.REFUSED
  const waiting = ['a', 'b'].map((n) => refused(n, 'fdaa::a').catch(() => false))
  assert.ok(await refused('c', 'fdaa::a'), 'a third of one machine')
  waiting.push(refused('c', 'fdaa::b').catch(() => false))
  assert.ok(await refused('d', 'fdaa::c'), 'a fourth of all')
  assert.deepEqual(await Promise.all(waiting), [false, false, false])
})

test('what may be kept, and for how long', () => {
  const q = query('a.test')
  const table: [Partial<Message>, number][] = [
    [{ answers: [address('a', 60, '::1'), address('a', 30, '::2')] }, 30],
    [{ answers: [address('a', 999_999, '::1')] }, 3_600],
    [{ answers: [address('a', 0, '::1')] }, 0],
    [{ answers: [address('a', 60, '::1')], truncated: true }, 0],
    [{ rcode: RCODE.SERVFAIL, authorities: [soaRecord(9, 9)] }, 0],
    [{ rcode: RCODE.NXDOMAIN }, 0],
    [{ rcode: RCODE.NXDOMAIN, authorities: [soaRecord(60, 20)] }, 20],
    [{ rcode: RCODE.NXDOMAIN, authorities: [soaRecord(9_999, 9_999)] }, 300],
    [{ authorities: [soaRecord(10, 20)] }, 10],
  ]
  for (const [fields, ttl] of table) assert.equal(cacheTtl(respond(q, fields)), ttl)
})

test('the cache is bounded, and keeps what is used', () => {
  const cache = new AnswerCache({ now: () => 0 }, 2)
  const message = ok(query('a.test'))
  cache.put('a', message)
  cache.put('b', message)
  assert.ok(cache.get('a'))
  cache.put('c', message)
  assert.deepEqual([cache.size, cache.get('b')], [2, undefined])
  assert.ok(cache.get('a') && cache.get('c'))
})

test('who is a machine', () => {
  assert.deepEqual(
    ['fdaa:0:1::2', 'fdab::1', '2001:db8::1', '127.0.0.1', 'fe80::1', ''].map(isMachine),
    [true, false, false, false, false, false],
  )
})
