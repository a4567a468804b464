import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import * as limits from '../limits.ts'
import { ADDRESS, eventually, Lab, SHARED, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const COUNT = 20_000
const service = { port: 80, internalPort: 1, forceHttps: true }
const machines = [{ id: 'm1', services: [service] }]

/** The most that `answered` has moved between two turns of the loop, until `stop`. */
function watchTurns(answered: () => number): () => number {
  let most = 0
  let last = 0
  let stopped = false
  const turn = () => {
    const now = answered()
    most = Math.max(most, now - last)
    last = now
    if (!stopped) setImmediate(turn)
  }
  turn()
  return () => {
    stopped = true
    return most
  }
}

describe('requests that come at once and that the edge answers itself', () => {
  const answers = (edge: TestEdge) =>
    edge.proxy.snapshot().requests.reduce((sum, requests) => sum + requests, 0)

  for (const [name, options, pattern] of [
    ['an unknown host', { address: SHARED }, /no app answers to h(\d+)/g],
    ['a redirect', { address: ADDRESS }, /\r\nLocation: https:\/\/h(\d+)\//g],
  ] as const)
    test(`all are, in order, and others have their turns: ${name}`, async () => {
      const edge = await lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }], options)
      let requests = ''
      for (let i = 0; i < COUNT; i++) requests += `GET / HTTP/1.1\r\nHost: h${i}\r\n\r\n`
      const most = watchTurns(() => answers(edge))
      const client = lab.client(edge.port)
      const parts: Buffer[] = []
      client.socket.removeAllListeners('data').on('data', (data: Buffer) => parts.push(data))
      client.send(requests)
      await eventually(() => answers(edge) === COUNT)
      const inOneTurn = most()
      assert.ok(inOneTurn <= 3 * limits.ANSWERS_PER_TURN_MAX, `${inOneTurn} in one turn`)
      assert.ok(edge.limit('answers_per_turn') > 0)
      client.socket.end()
      await client.end()
      const seen = [...Buffer.concat(parts).toString('latin1').matchAll(pattern)]
      assert.deepEqual(
        seen.map(([, host]) => Number(host)),
        Array.from({ length: COUNT }, (_, i) => i),
      )
    })
})
