import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createSealer, loadOrCreateSealer } from './seal.ts'

test('what was sealed opens; two seals of one text differ', () => {
  const sealer = createSealer(Buffer.alloc(32, 1))
  for (const text of ['', 'hunter2', 'päss✓'.repeat(1000)]) {
    assert.equal(sealer.open(sealer.seal(text)), text)
  }
  assert.notEqual(sealer.seal('a'), sealer.seal('a'))
})

test('a changed byte, another key and nonsense do not open', () => {
  const sealer = createSealer(Buffer.alloc(32, 1))
  const bytes = Buffer.from(sealer.seal('hunter2'), 'base64url')
  for (let i = 0; i < bytes.length; i++) {
    const changed = Buffer.from(bytes)
    changed[i]! ^= 1
    assert.throws(() => sealer.open(changed.toString('base64url')), { code: 'unsealable' })
  }
  const other = createSealer(Buffer.alloc(32, 2))
  assert.throws(() => other.open(sealer.seal('x')), { code: 'unsealable' })
  assert.throws(() => sealer.open(''), { code: 'unsealable' })
})

test('the key file is made once, readable by its owner alone', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-seal-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const sealed = loadOrCreateSealer(dir).seal('kept')
  assert.equal(loadOrCreateSealer(dir).open(sealed), 'kept')
  assert.equal(statSync(join(dir, 'seal.key')).mode & 0o777, 0o600)
  assert.equal(readFileSync(join(dir, 'seal.key')).length, 32)
  writeFileSync(join(dir, 'seal.key'), 'short')
  assert.throws(() => loadOrCreateSealer(dir), { code: 'bad_seal_key' })
})
