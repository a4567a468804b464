import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EdgeFacts } from './edge-facts.ts'

function setUp() {
  const told: string[] = []
  const facts = new EdgeFacts({
    revision: (revision) => told.push(`revision ${revision}`),
    load: (machine, service, load) => told.push(`${machine}/${service} ${load}`),
    log: (line) => told.push(line.message),
  })
  const take = () => told.splice(0)
  return { facts, take }
}

test('while one edge replaces another a revision is applied when both have it', () => {
  const { facts, take } = setUp()
  const [old, next] = [{}, {}]
  facts.line(old, { t: 'applied', revision: 7 })
  facts.line(next, { t: 'hello', pid: 1 })
  facts.line(next, { t: 'applied', revision: 5 })
  facts.line(next, { t: 'applied', revision: 8 })
  facts.closed(old)
  facts.closed(next)
  facts.closed(next)
  assert.deepEqual(take(), [
    ...['revision 7', 'revision 5', 'revision 7', 'revision 8', 'revision null'],
  ])
})

test('a service is as busy as its busier edge says, and only while that edge lives', () => {
  const { facts, take } = setUp()
  const [one, other] = [{}, {}]
  const load = (edge: object, bucket: 0 | 1 | 2) =>
    facts.line(edge, { t: 'load', machine: 'm', service: 0, load: bucket })
  load(one, 2)
  load(other, 1)
  load(one, 0)
  load(one, 2)
  facts.repeat()
  facts.closed(one)
  facts.closed(other)
  const loads = take().filter((text) => text.startsWith('m/0'))
  assert.deepEqual(
    loads.map((text) => Number(text.at(-1))),
    [2, 2, 1, 2, 2, 2, 1, 0],
  )
})
