import { test } from 'node:test'
import { leaseCases } from './conformance/leases.ts'
import { propertyCases } from './conformance/property.ts'
import { rangeCases } from './conformance/range.ts'
import type { Cases, MakeStore } from './conformance/support.ts'
import { txnCases } from './conformance/txn.ts'
import { watchCases } from './conformance/watch.ts'

export type { MakeOptions, MakeStore, StoreUnderTest } from './conformance/support.ts'
export { watchCases }

const TEST_TIMEOUT_MS = process.env.FAIRWAY_RUNS ? 3_600_000 : 60_000
const ALL: Cases = {
  ...txnCases,
  ...rangeCases,
  ...watchCases,
  ...leaseCases,
  ...propertyCases,
}

/**
 * What every engine must do, as tests named after it. The property cases print their seed;
 * FAIRWAY_SEED (and FAIRWAY_PATH, from a failure's report) replays one, FAIRWAY_RUNS sets how many.
 */
export function testStore(name: string, make: MakeStore, cases: Cases = ALL): void {
  for (const [title, run] of Object.entries(cases))
    test(`${name}: ${title}`, { timeout: TEST_TIMEOUT_MS }, async (context) => {
      await run(make, (line) => context.diagnostic(line))
    })
}
