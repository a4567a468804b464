import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { CODES, textOf } from './codes.ts'

test('every code is documented', () => {
  const path = join(import.meta.dirname, '../../../docs/errors.md')
  const documented = new Set(readFileSync(path, 'utf8').match(/(?<=^\| `)\w+/gm))
  for (const code of Object.keys(CODES))
    assert.ok(documented.has(code), `${code} in docs/errors.md`)
})

test('a message says what the code means, and the case', () => {
  assert.equal(textOf('PC01', ''), CODES.PC01)
  assert.equal(textOf('PC01', 'ECONNREFUSED'), `${CODES.PC01}: ECONNREFUSED`)
  assert.equal(textOf('CORDONED', 'the machine is cordoned'), 'the machine is cordoned')
})
