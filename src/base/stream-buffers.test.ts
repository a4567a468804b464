import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StreamBuffers } from './stream-buffers.ts'

test('a buffer is used again when its reader and its writes are done with it', () => {
  let refused = 0
  const buffers = new StreamBuffers(16, 2, () => void refused++)
  const one = buffers.take()!
  const written = one.lend()
  one.leave()
  const two = buffers.take()!
  assert.notEqual(two, one, 'a write from it is pending')
  assert.equal(buffers.take(), null, 'no more than two')
  assert.equal(refused, 1)
  written()
  assert.equal(buffers.take(), one)
  assert.equal(one.bytes.length, 16)
})
