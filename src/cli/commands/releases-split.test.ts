import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FakeApi, fakeMachine } from '../testing.ts'
import { ok, refused } from '../testing-commands.ts'

/** Keeps what it is given. */
function withSplit(shares: object[] = []) {
  const said: unknown[] = []
  const api = (fake: FakeApi) => {
    fake.graphql.app = () => ({ releaseSplit: shares })
    fake.graphql.setReleaseSplit = ({ input }) => {
      said.push(input)
      return { app: { releaseSplit: (input as { shares: object[] }).shares } }
    }
  }
  return { api, said }
}
const shares = [
  { version: 1, weight: 90 },
  { version: 2, weight: 30 },
]

test('releases split shows what each release gets, and warns of one without machines', async () => {
  const state = { machines: [fakeMachine('m1'), fakeMachine('m2')] }
  const { stdout, stderr } = await ok('releases split', { ...withSplit(shares), state })
  assert.match(
    stdout,
    /^VERSION {2}WEIGHT {2}SHARE {2}MACHINES\nv1 +90 +75 % +2\nv2 +30 +25 % +0\n/,
  )
  assert.match(stderr, /no machine runs v2; what is drawn for it goes to the others/)
  const none = await ok('releases split', withSplit())
  assert.equal(none.stdout, 'hello: every machine counts alike, whatever its release.\n')
  const { stdout: json } = await ok('releases split --json', withSplit(shares))
  assert.deepEqual(JSON.parse(json), shares)
})

test('releases split VERSION=WEIGHT sets, --clear takes away', async () => {
  const set = withSplit()
  await ok('releases split 1=90 v2=30', set)
  await ok('releases split --clear', set)
  assert.deepEqual(set.said, [
    { appId: 'hello', shares },
    { appId: 'hello', shares: [] },
  ])
})

test('what is no share is named, and nothing is changed', async () => {
  for (const [line, text] of [
    ['releases split 1', /"1" is no share. Use VERSION=WEIGHT/],
    ['releases split 1=9 a=1', /"a=1" is no share/],
    ['releases split 1=9 --clear', /--clear takes every share away/],
  ] as const)
    assert.deepEqual((await refused(line, text, withSplit())).changes, [])
})
