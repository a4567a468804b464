import assert from 'node:assert/strict'
import { test } from 'node:test'
import { textOf } from './check.ts'

test('what went wrong is said in words, with address, port and code', () => {
  const v6 = { host: 'db.example.com', port: 5432, family: 6, remote: '2001:db8::1' } as const
  const say = (code: string, to: Parameters<typeof textOf>[1] = v6) =>
    textOf({ code, message: `connect ${code}` }, to)
  assert.match(say('ENETUNREACH'), /^\[2001:db8::1\] port 5432: no way there over IPv6/)
  assert.match(say('ECONNREFUSED'), /refused \(ECONNREFUSED\); nothing listens there/)
  assert.match(say('ETIMEDOUT'), /no answer in time/)
  assert.match(say('ECONNRESET'), /reset \(ECONNRESET\) before it was open/)
  assert.match(say('EADDRNOTAVAIL'), /every port of the machine's block/)
  assert.match(say('ENOTFOUND', { ...v6, remote: null }), /the name db.example.com cannot/)
  assert.equal(say('ENODATA', { ...v6, remote: null }), 'db.example.com has no IPv6 address')
  assert.equal(
    say('EPROTO', { ...v6, family: 4, remote: '192.0.2.1' }),
    '192.0.2.1 port 5432: connect EPROTO',
  )
})
