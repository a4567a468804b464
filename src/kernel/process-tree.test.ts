import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import fc from 'fast-check'
import { descendants, killTree } from './process-tree.ts'

test('descendants are exactly those whose line of parents leads to the root', () => {
  // Process n has a parent below n, as in a forest.
  const forests = fc.array(fc.nat(), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(forests, fc.nat(40), (picks, pick) => {
      const parentOf = new Map(picks.map((p, i) => [i + 1, p % (i + 1)]))
      const root = (pick % picks.length) + 1
      const leadsToRoot = (pid: number): boolean =>
        pid === root || (parentOf.has(pid) && leadsToRoot(parentOf.get(pid)!))
      assert.deepEqual(
        descendants(root, parentOf).sort((a, b) => a - b),
        [...parentOf.keys()].filter(leadsToRoot),
      )
    }),
  )
})

test('a root that has ended has no descendants', () => {
  assert.deepEqual(descendants(7, new Map([[8, 7]])), [])
})

test('a tree is killed with its grandchildren, and nobody else', async () => {
  const script = 'sleep 600 & sh -c "sleep 600 & echo up; wait" & wait'
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  const other = spawn('sleep', ['600'])
  await once(child.stdout, 'data')
  const closed = once(child, 'close') // The last holder of its output has ended.
  killTree(child.pid!)
  const [, signal] = await closed
  assert.equal(signal, 'SIGKILL')
  assert.equal(other.exitCode ?? other.signalCode, null)
  other.kill()
})
