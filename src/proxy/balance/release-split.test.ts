import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ReleaseShare } from '../../model/resources.ts'
import { drawRelease } from './release-split.ts'
import { Steering } from './steering.ts'
import { claim, idOf, machine, setUp } from './testing.ts'

test('each release gets its share, and one without weight nothing', () => {
  const share = fc.record({ weight: fc.nat(1_000) })
  const shares = fc
    .array(share, { minLength: 1, maxLength: 10 })
    .map((list) => list.map(({ weight }, i): ReleaseShare => ({ version: i + 1, weight })))
    .filter((list) => list.some(({ weight }) => weight > 0))
  fc.assert(
    fc.property(shares, (list) => {
      const total = list.reduce((sum, { weight }) => sum + weight, 0)
      const n = 2_000
      const hits = new Map<number, number>()
      for (let i = 0; i < n; i++) {
        const version = drawRelease(list, (i + 0.5) / n)
        hits.set(version, (hits.get(version) ?? 0) + 1)
      }
      for (const { version, weight } of list) {
        const got = hits.get(version) ?? 0
        assert.ok(Math.abs(got - (n * weight) / total) <= 1, `${got} for ${weight} of ${total}`)
      }
    }),
  )
})

test('a release’s machines come first, wherever they are; without any, others serve', () => {
  const machines = [
    machine('old', 'iad1', { soft: 9 }, { release: 1 }),
    machine('new', 'lhr1', {}, { release: 2 }),
    machine('other', 'iad2'),
  ]
  const { balancer, route } = setUp(machines)
  const of = (release: number, exclude: string[] = []) => {
    const steering = new Steering({})
    steering.release = release
    return idOf(claim(balancer, route, exclude, undefined, { steering }))
  }
  assert.equal(of(1), 'old')
  assert.equal(of(2), 'new')
  assert.equal(of(2, ['new']), 'old')
  assert.equal(of(3), 'old')
})

test('a client that has a machine stays with it, whatever is drawn', () => {
  const machines = [
    machine('old', 'iad1', {}, { release: 1 }),
    machine('new', 'iad1', {}, { release: 2 }),
  ]
  const { balancer, route } = setUp(machines)
  const steering = new Steering({})
  steering.release = 2
  steering.stickyMachine = 'old'
  assert.equal(idOf(claim(balancer, route, [], undefined, { steering })), 'old')
  assert.equal(idOf(claim(balancer, route, ['old'], undefined, { steering })), 'new')
})
