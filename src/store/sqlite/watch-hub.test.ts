import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WatchBatch } from '../store.ts'
import { WATCH_BUFFER_BATCHES_MAX, WATCH_BUFFER_CHARS_MAX, Watcher, WatchHub } from './watch-hub.ts'

const batch = (revision: number, keys: readonly string[], value = ''): WatchBatch => ({
  revision,
  events: keys.map((key) => ({
    type: 'put',
    kv: { key, value, createRevision: revision, modRevision: revision, version: 1 },
  })),
})

function live(hub: WatchHub, prefixes: readonly string[], position = 0): Watcher {
  const watcher = new Watcher(prefixes, position)
  hub.add(watcher)
  watcher.caughtUp(position, true)
  return watcher
}

test('a commit reaches the watchers of its keys and no others', () => {
  const hub = new WatchHub()
  const a = live(hub, ['a/'])
  const ab = live(hub, ['a/b', 'b', 'a/'])
  const all = live(hub, [''])
  const c = live(hub, ['c'])
  hub.publish(batch(1, ['a/b', 'b']))
  const seen = (watcher: Watcher) => watcher.take().map(({ events }) => events.length)
  assert.deepEqual([a, ab, all, c].map(seen), [[1], [2], [2], []])
  hub.remove(a)
  hub.remove(ab)
  hub.publish(batch(2, ['a/b']))
  assert.deepEqual([a, ab, all].map(seen), [[], [], [1]])
})

test('what a watcher has read from the history is not offered again', () => {
  const hub = new WatchHub()
  const watcher = live(hub, ['a'], 5)
  hub.publish(batch(5, ['a']))
  hub.publish(batch(6, ['a']))
  assert.deepEqual(
    watcher.take().map(({ revision }) => revision),
    [6],
  )
})

for (const [what, count, value] of [
  ['batches', WATCH_BUFFER_BATCHES_MAX + 1, ''],
  ['characters', 5, 'x'.repeat(WATCH_BUFFER_CHARS_MAX / 4)],
] as const)
  test(`a watcher with too many ${what} waiting falls back on the history`, () => {
    const hub = new WatchHub()
    const watcher = live(hub, ['a'], 3)
    for (let i = 0; i < count; i++) hub.publish(batch(100 + i, ['a'], value))
    assert.equal(watcher.live, false)
    assert.deepEqual(watcher.take(), [])
    assert.equal(watcher.position, 99, 'up to there it has missed nothing')
    hub.publish(batch(9_999, ['a']))
    assert.deepEqual(watcher.take(), [])
  })
