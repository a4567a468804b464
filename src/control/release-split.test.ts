import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { createApp, getApp } from './apps.ts'
import { createOrg } from './orgs.ts'
import { SPLIT_RELEASES_MAX, SPLIT_WEIGHT_MAX, setReleaseSplit } from './release-split.ts'
import { createRelease } from './releases.ts'
import { type TestControl, testActor, testControl } from './testing.ts'

const ada = testActor('personal')
const mallory = testActor('mallory')
let control: TestControl

beforeEach(async () => {
  control = testControl()
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  await createApp(control, ada, { name: 'hello', org: 'personal' })
  for (let i = 0; i < 3; i++) await createRelease(control, ada, { app: 'hello', image: 'i' })
})

const split = (...shares: [version: number, weight: number][]) =>
  setReleaseSplit(control, ada, {
    app: 'hello',
    shares: shares.map(([version, weight]) => ({ version, weight })),
  })
const now = async () => (await getApp(control, ada, 'hello')).releaseSplit

test('shares are kept in the order of the releases, and taken away again', async () => {
  assert.equal(await now(), null)
  await split([3, 10], [2, 90])
  assert.deepEqual(await now(), [
    { version: 2, weight: 90 },
    { version: 3, weight: 10 },
  ])
  await split()
  assert.equal(await now(), null)
})

describe('what is wrong changes nothing', () => {
  const many = Array.from({ length: SPLIT_RELEASES_MAX + 1 }, (_, i): [number, number] => [
    i + 1,
    1,
  ])
  const cases: readonly (readonly [[number, number][], RegExp])[] = [
    [[[4, 1]], /release 4 is none of app "hello"; "fairway releases"/],
    [[[0, 1]], /version 0 is no release/],
    [[[1.5, 1]], /version 1\.5 is no release/],
    [[[1, -1]], /weight -1 of release 1 is out of range/],
    [[[1, SPLIT_WEIGHT_MAX + 1]], /weight 1001 of release 1/],
    [[[1, 0.5]], /weight 0\.5 of release 1/],
    [
      [
        [1, 1],
        [1, 2],
      ],
      /release 1 is given twice/,
    ],
    [[[1, 0]], /every weight is 0/],
    [many, /11 releases; name at most 10/],
  ]
  for (const [shares, text] of cases)
    test(text.source, async () => {
      await split([1, 1])
      await assert.rejects(split(...shares), text)
      assert.deepEqual(await now(), [{ version: 1, weight: 1 }])
    })

  test('somebody else’s app does not exist', async () => {
    const input = { app: 'hello', shares: [{ version: 1, weight: 1 }] }
    await assert.rejects(setReleaseSplit(control, mallory, input), /Could not find App/)
  })
})
