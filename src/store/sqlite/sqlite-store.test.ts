import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock } from '../conformance/support.ts'
import { type MakeStore, testStore, watchCases } from '../conformance.ts'
import { openSqliteStore, type SqliteStore } from './sqlite-store.ts'

const make =
  (ownThread: boolean): MakeStore =>
  async ({ retainRevisions }) => {
    const directory = mkdtempSync(join(tmpdir(), 'fairway-store-'))
    const clock = new ManualClock()
    const options = { retainRevisions, clock, ownThread }
    const open = () => openSqliteStore(join(directory, 'store.db'), options)
    let store: SqliteStore = await open()
    return {
      get store() {
        return store
      },
      ordered: true,
      async advance(ms) {
        clock.advance(ms)
        // Any call lets the engine do what is due by then.
        await store.get('any')
      },
      async reopen() {
        await store.close()
        store = await open()
      },
      async compact() {},
      async close() {
        await store.close()
        rmSync(directory, { recursive: true })
      },
    }
  }

testStore('sqlite', make(false))
// What a thread changes is when messages arrive, and watches are made of that.
testStore('sqlite in its thread', make(true), watchCases)
