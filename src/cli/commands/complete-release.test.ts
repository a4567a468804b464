import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FakeApi } from '../testing.ts'
import { ok, run } from '../testing-commands.ts'

/** Commands that go on from what an app runs do not take a release that failed for it. */

const release = (version: number, status: string) => ({
  ...{ id: `rel-${version}`, version, status, createdAt: '2026-06-01T11:59:55Z' },
  imageRef: `registry.fairway.test/hello@sha256:${String(version).repeat(64)}`,
  configDefinition: {
    app: 'hello',
    processes: { app: 'node server.js', worker: `node worker.js v${version}` },
  },
})
type Release = ReturnType<typeof release>

/** Newest first. */
const having = (releases: readonly Release[]) => (api: FakeApi) => {
  api.graphql.app = () => ({
    currentReleaseUnprocessed: releases[0] ?? null,
    releases: { nodes: releases },
  })
}
const FAILED_LAST = [release(3, 'failed'), release(2, 'complete'), release(1, 'complete')]

test('scale count makes the first machines of a group as the newest complete release says', async () => {
  const { state } = await ok('scale count worker=1', { api: having(FAILED_LAST) })
  const made = state.machines.at(-1)!.config
  assert.equal(made.image, FAILED_LAST[1]!.imageRef)
  assert.deepEqual(made.init?.cmd, ['node', 'worker.js', 'v2'])
  assert.equal(made.metadata?.fly_release_version, '2')
  const none = await run('scale count worker=1', { api: having([release(1, 'interrupted')]) })
  assert.equal(none.code, 1)
  assert.match(none.stderr, /hello has no complete release among its last 50\. Run fairway deploy/)
})

test('a release of new secrets is one of the newest complete release', async () => {
  const { state } = await ok('secrets set A=1', { api: having(FAILED_LAST) })
  assert.equal(state.releases[0]?.body.image, FAILED_LAST[1]!.imageRef)
  assert.deepEqual(state.releases[0]?.body.definition, FAILED_LAST[1]!.configDefinition)
  // A first deploy that failed, for want of a secret perhaps, leaves its machines.
  const first = await ok('secrets set A=1', { api: having([release(1, 'failed')]) })
  assert.deepEqual(first.state.releases[0]?.body.definition, release(1, 'failed').configDefinition)
})
