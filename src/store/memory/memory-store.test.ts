import { ManualClock } from '../conformance/support.ts'
import { testStore } from '../conformance.ts'
import { MemoryStore } from './memory-store.ts'

testStore('memory', async ({ retainRevisions }) => {
  const clock = new ManualClock()
  const store = new MemoryStore({ clock, retainRevisions })
  return {
    store,
    ordered: true,
    async advance(ms) {
      clock.advance(ms)
      await store.get('any')
    },
    async reopen() {
      store.restart()
    },
    async compact() {},
    async close() {},
  }
})
