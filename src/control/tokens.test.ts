import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testControl } from './testing.ts'
import { AUTHORIZATION_LENGTH_MAX, authenticate, createToken, revokeToken } from './tokens.ts'

const user = { id: 'u1', email: 'ada@example.com', name: 'Ada' }

async function setUp() {
  const control = testControl()
  const { token, record } = await createToken(control, { name: 'ci', user, orgs: ['personal'] })
  return { control, token, record }
}

test('a token is opaque, kept only as its hash, and says who calls', async () => {
  const { control, token, record } = await setUp()
  assert.match(token, /^fo1_[A-Za-z0-9_-]{43}$/)
  const stored = JSON.stringify([...control.store.dump()])
  assert.ok(!stored.includes(token.slice(4)))
  assert.deepEqual(await authenticate(control, `Bearer ${token}`), { token: record })
})

test('every form of the header in which clients send tokens', async () => {
  const { control, token } = await setUp()
  for (const header of [
    `Bearer ${token}`,
    `bearer  ${token}`,
    `FlyV1 ${token}`,
    `FlyV1 fm2_abc,${token}`,
    `Bearer fm2_abc, fo1_${'x'.repeat(43)},${token}`,
    `Bearer FlyV1 ${token}`,
    token,
  ]) {
    assert.equal((await authenticate(control, header)).token.user.id, 'u1', header)
  }
})

test('everything else is 401', async () => {
  const { control, token } = await setUp()
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Basic dXNlcjpwYXNz',
    `Bearer ${token}x`,
    `Bearer ${token.slice(0, -1)}`,
    `Bearer fo1_${'x'.repeat(43)}`,
    `Bearer ${'fm2_x,'.repeat(16)}${token}`,
    `Bearer ${token},${'x'.repeat(AUTHORIZATION_LENGTH_MAX)}`,
  ]) {
    await assert.rejects(authenticate(control, header), { code: 'unauthorized', status: 401 })
  }
})

test('a revoked token is one no more', async () => {
  const { control, token } = await setUp()
  assert.equal(await revokeToken(control, token), true)
  assert.equal(await revokeToken(control, token), false)
  await assert.rejects(authenticate(control, `Bearer ${token}`), { status: 401 })
})
