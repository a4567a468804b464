import assert from 'node:assert/strict'
import { test } from 'node:test'
import { METER_SLOTS } from './meter.ts'
import { ServedProxies } from './served.ts'
import { record } from './testing.ts'

/** The proxies of a host, with as many connections at each slot as `open` says. */
function servedWith(open: (slot: number) => number) {
  const slots = new Map<string, Readonly<Record<string, number>>>()
  const served = new ServedProxies(
    'h1',
    open,
    (change) => void ('gone' in change || slots.set(change.proxy.id, change.slots)),
    (key, problem) => assert.fail(`${key}: ${problem}`),
  )
  const credential = record().credentials[0]!
  return {
    put(id: string, names: readonly string[]): Readonly<Record<string, number>> {
      const credentials = names.map((name) => ({ ...credential, name }))
      const proxy = { ...record(), id, credentials }
      served.apply({ t: 'events', revision: 1, events: [['put', `outbound/${id}`, proxy, 1]] })
      return slots.get(id)!
    },
    delete: (id: string) =>
      served.apply({ t: 'events', revision: 1, events: [['delete', `outbound/${id}`]] }),
  }
}

test("a credential is counted where nobody else's connections are", () => {
  const open = new Map<number, number>()
  const { put, delete: destroy } = servedWith((slot) => open.get(slot) ?? 0)
  const { a, b } = put('p1', ['a', 'b']) as { a: number; b: number }
  // All other places, so that those two are the only ones to be had later on.
  put(
    'all',
    Array.from({ length: METER_SLOTS - 3 }, (_, i) => `all-${i}`),
  )
  open.set(a, 20).set(b, 1)
  destroy('p1')
  assert.deepEqual(put('p2', ['c']), { c: 0 }, 'what is left is for all who have none')
  open.set(b, 0)
  assert.deepEqual(put('p3', ['d']), { d: b })
  open.set(a, 0)
  assert.deepEqual(put('p3', ['d', 'e']), { d: b, e: a })
})
