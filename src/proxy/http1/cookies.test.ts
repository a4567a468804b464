import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { cookieOf, setCookie } from './cookies.ts'

const head = (...fields: string[]) => `GET / HTTP/1.1\r\n${fields.map((f) => `${f}\r\n`).join('')}`

describe('the value of a cookie', () => {
  for (const [fields, expected] of [
    [['Cookie: a=1'], '1'],
    [['Host: x', 'cookie: b=2; a=1; c=3'], '1'],
    [['Cookie: b=2;a=1'], '1'],
    [['Cookie: a=1; a=2'], '1'],
    [['Cookie: b=2', 'COOKIE: a=1'], '1'],
    [['Cookie: aa=2; ba=3'], ''],
    [['Cookie: A=2'], ''],
    [['Cookie: b="; a=1'], '1'],
    [['Cookie: a'], ''],
    [['Cookie: a=; a=1'], ''],
    [['Cookie: a=x=y'], 'x=y'],
    [['Cookie:'], ''],
    [['X-Cookie: a=1', 'Cookie2: a=1'], ''],
    [[], ''],
  ] as const)
    test(JSON.stringify(fields), () => assert.equal(cookieOf(head(...fields), 'a'), expected))

  test('any field value is read, without an error and in its own line', () => {
    const value = fc.string({
      unit: fc.integer({ min: 32, max: 126 }).map((c) => String.fromCharCode(c)),
    })
    fc.assert(
      fc.property(value, value, (before, after) => {
        const found = cookieOf(head(`Cookie: ${before}`, `X: ${after}`), 'a')
        assert.ok(found === '' || before.includes(`a=${found}`))
      }),
    )
  })
})

test('the field that sets one', () => {
  const cookie = { name: 'a', value: 'x', maxAgeSeconds: null, secure: false }
  assert.equal(setCookie(cookie), 'Set-Cookie: a=x; Path=/; HttpOnly; SameSite=Lax\r\n')
  assert.equal(
    setCookie({ ...cookie, maxAgeSeconds: 60, secure: true }),
    'Set-Cookie: a=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure\r\n',
  )
})
