import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import type { ServiceOptions } from '../../model/service-options.ts'
import { StickyTokens } from '../balance/sticky-tokens.ts'
import { type TestMachine, type TestService, testEndpoint } from '../testing.ts'
import { ADDRESS, Lab, ok, onRequests, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const sticky = (ttlSeconds: number | null = null): ServiceOptions => ({
  ...{ rateLimit: null, slowStartMs: null, accessLog: null },
  sticky: { cookie: 'where', ttlSeconds },
})
const IDS = ['m1', 'm2', 'm3', 'm4']

async function setUp(options = sticky(), service: Partial<TestService> = {}) {
  const machines: TestMachine[] = []
  for (const id of IDS) {
    const internalPort = await lab.app((socket) =>
      onRequests(socket, (head) => socket.write(ok(`${id} ${head}`))),
    )
    machines.push({ id, services: [{ port: 80, internalPort, options, ...service }] })
  }
  const edge = await lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }])
  return { edge, machines }
}

/** The machine that answered, and the cookie that it came with. */
async function ask(edge: TestEdge, ...fields: string[]) {
  const client = lab.client(edge.port)
  const lines = ['Host: a', 'Connection: close', ...fields]
  const text = await client.send(`GET / HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`).end()
  return {
    machine: /\r\n\r\n(m\d) /.exec(text)?.[1],
    set: /^Set-Cookie: (.*)\r$/m.exec(text)?.[1],
    text,
  }
}
const tokenIn = (set: string | undefined) => /^where=([\w-]{16});/.exec(set ?? '')![1]!

function change(edge: TestEdge, machine: TestMachine) {
  const value = testEndpoint('hello', machine)
  const put = ['put', `endpoint/hello/${machine.id}`, value, 2] as const
  edge.view.apply({ t: 'events', revision: 2, events: [put] })
}

describe('a sticky service', () => {
  test('gives a client a cookie once, and brings it back to its machine', async () => {
    const { edge } = await setUp()
    const { machine, set } = await ask(edge)
    assert.match(set!, /^where=[\w-]{16}; Path=\/; HttpOnly; SameSite=Lax$/)
    assert.ok(!set!.includes(machine!), 'the id is not shown')
    for (let i = 0; i < 20; i++) {
      const again = await ask(edge, `Cookie: theme=dark; where=${tokenIn(set)}`)
      assert.deepEqual([again.machine, again.set], [machine, undefined])
    }
  })

  test('of a time to live: so long', async () => {
    const { edge } = await setUp(sticky(3_600))
    assert.match((await ask(edge)).set!, /; Max-Age=3600; HttpOnly;/)
  })

  test('a machine that is gone: another, and its cookie', async () => {
    const { edge, machines } = await setUp()
    const { machine, set } = await ask(edge)
    const gone = machines.find(({ id }) => id === machine)!
    change(edge, { ...gone, state: 'stopped' })
    const next = await ask(edge, `Cookie: where=${tokenIn(set)}`)
    assert.notEqual(next.machine, machine)
    assert.ok(next.set && next.set !== set)
    change(edge, gone)
    const after = await ask(edge, `Cookie: where=${tokenIn(next.set)}`)
    assert.deepEqual([after.machine, after.set], [next.machine, undefined])
  })

  test('a machine that fails: another, and its cookie', async () => {
    const { edge, machines } = await setUp()
    const broken = machines[0]!
    change(edge, { ...broken, services: [{ ...broken.services[0]!, internalPort: 1 }] })
    const token = new StickyTokens().of('m1')
    const { machine, set } = await ask(edge, `Cookie: where=${token}`)
    assert.notEqual(machine, 'm1')
    assert.equal(tokenIn(set), new StickyTokens().of(machine!))
  })

  for (const value of ['', 'm1', 'x'.repeat(16), 'x'.repeat(5_000), '../../../../etc/p'])
    test(`${JSON.stringify(value.slice(0, 20))} in the cookie is nobody`, async () => {
      const { edge } = await setUp()
      const { machine, set } = await ask(edge, `Cookie: where=${value}`)
      assert.ok(IDS.includes(machine!) && set)
    })

  test('what the client asks for in a header counts, and leaves the cookie alone', async () => {
    const { edge } = await setUp()
    const cookie = `Cookie: where=${new StickyTokens().of('m1')}`
    const asked = await ask(edge, cookie, 'Fly-Prefer-Instance-Id: m2')
    assert.deepEqual([asked.machine, asked.set], ['m2', undefined])
    assert.equal((await ask(edge, cookie)).machine, 'm1')
    assert.ok(!(await ask(edge, cookie)).text.includes('Unavailable'))
  })
})

test('other services set no cookie', async () => {
  const { edge } = await setUp({
    rateLimit: null,
    slowStartMs: null,
    sticky: null,
    accessLog: null,
  })
  const { set } = await ask(edge, `Cookie: where=${new StickyTokens().of('m1')}`)
  assert.equal(set, undefined)
})

describe('an app that splits its releases', () => {
  const split = async (options?: ServiceOptions, handlers: ['http'] | [] = ['http']) => {
    const machines: TestMachine[] = []
    for (const [i, id] of IDS.entries()) {
      const internalPort = await lab.app((socket) =>
        onRequests(socket, (head) => socket.write(ok(`${id} ${head}`))),
      )
      const services = [{ port: 80, internalPort, handlers, ...(options && { options }) }]
      machines.push({ id, release: i === 3 ? 2 : 1, services })
    }
    const releaseSplit = [
      { version: 1, weight: 3 },
      { version: 2, weight: 1 },
    ]
    const app = { name: 'hello', addresses: [ADDRESS], releaseSplit, machines }
    let turn = 0
    return lab.edge([app], { random: () => (turn++ % 8) / 8 })
  }

  for (const handlers of [['http'], []] as [['http'], []])
    test(`sends ${handlers[0] ?? 'tcp'} by their weights, not by their machines`, async () => {
      const edge = await split(undefined, handlers)
      let hits = 0
      for (let i = 0; i < 64; i++) {
        const client = lab.client(edge.port).send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        if ((await client.until(/\r\n\r\nm\d /)).includes('\r\n\r\nm4 ')) hits++
        client.socket.destroy()
      }
      assert.ok(hits >= 8 && hits <= 32, `${hits}`)
    })

  test('leaves a client of a sticky service where it is', async () => {
    const edge = await split(sticky())
    const cookie = `Cookie: where=${new StickyTokens().of('m4')}`
    for (let i = 0; i < 16; i++) assert.equal((await ask(edge, cookie)).machine, 'm4')
  })
})
