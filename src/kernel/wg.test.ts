import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { generateKeys, isWireguardKey, keysOf, loadOrCreateKeys, parseDump } from './wg.ts'

test('the public key of a private one is what `wg pubkey` says', () => {
  const { publicKey } = keysOf('dwdtCnMYpX08FsFyUbJmRd9Ml0ekwiwsKqW5L8L5LCo=')
  assert.equal(publicKey, 'McCSGSg3nb/i26W5ZBSa0guK8Yvkz6u/AAzHW6g3PWw=')
})

test('keys are clamped, so that the kernel shows them unchanged', () => {
  for (let i = 0; i < 20; i++) {
    const keys = generateKeys()
    const bytes = Buffer.from(keys.privateKey, 'base64')
    assert.equal(bytes[0]! & 7, 0)
    assert.equal(bytes[31]! & 192, 64)
    assert.ok(isWireguardKey(keys.privateKey) && isWireguardKey(keys.publicKey))
    assert.deepEqual(keysOf(keys.privateKey), keys)
  }
})

test('the key file is private and kept; a broken one is named', () => {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-wg-'))
  after(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'mesh.key')
  const keys = loadOrCreateKeys(path)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(loadOrCreateKeys(path), keys)
  writeFileSync(path, 'nonsense')
  assert.throws(() => loadOrCreateKeys(path), /mesh\.key holds no WireGuard key/)
})

test('dump: device, peers, and what is not set', () => {
  const dump =
    'PRIV\tPUB\t51821\toff\n' +
    'A\t(none)\t192.0.2.1:51821\tfdaa:0:0:1::/64,fdaa:0:1:a7b:1::/80\t0\t0\t0\toff\n' +
    'B\t(none)\t(none)\t(none)\t0\t0\t0\toff\n'
  assert.deepEqual(parseDump(dump), {
    privateKey: 'PRIV',
    listenPort: 51_821,
    peers: [
      {
        publicKey: 'A',
        endpoint: '192.0.2.1:51821',
        allowedIps: ['fdaa:0:0:1::/64', 'fdaa:0:1:a7b:1::/80'],
      },
      { publicKey: 'B', endpoint: null, allowedIps: [] },
    ],
  })
  assert.equal(parseDump('(none)\t(none)\t0\toff\n').privateKey, null)
})
