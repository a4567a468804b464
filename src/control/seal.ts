import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import type { Sealer } from './context.ts'
import { createPrivateFile } from './private-file.ts'

/** AES-256-GCM; a sealed text is base64url of version byte, 12-byte nonce, ciphertext, 16-byte tag. */

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const VERSION = 1

export function createSealer(key: Buffer): Sealer {
  if (key.length !== KEY_BYTES) throw new TypeError(`a sealing key has ${KEY_BYTES} bytes`)
  return {
    seal(text) {
      // Random nonces are safe for 2^32 seals under one key (NIST SP 800-38D section 8.3).
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
      return Buffer.concat([Buffer.from([VERSION]), nonce, sealed, cipher.getAuthTag()]).toString(
        'base64url',
      )
    },
    open(sealed) {
      const bytes = Buffer.from(sealed, 'base64url')
      if (bytes[0] !== VERSION || bytes.length < 1 + NONCE_BYTES + TAG_BYTES) throw unreadable()
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, 1 + NONCE_BYTES))
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
      const text = bytes.subarray(1 + NONCE_BYTES, -TAG_BYTES)
      try {
        return Buffer.concat([decipher.update(text), decipher.final()]).toString('utf8')
      } catch {
        throw unreadable()
      }
    },
  }
}

/** The key in `<stateDir>/seal.key` (0600), made on first use. Without it no secret can be read. */
export function loadOrCreateSealer(stateDir: string): Sealer {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  const path = join(stateDir, 'seal.key')
  createPrivateFile(path, randomBytes(KEY_BYTES))
  const key = readFileSync(path)
  if (key.length !== KEY_BYTES) {
    throw new FairwayError(
      'bad_seal_key',
      `${path} has ${key.length} bytes, not ${KEY_BYTES}; restore it from a copy (secrets cannot be read without it)`,
    )
  }
  return createSealer(key)
}

const unreadable = () =>
  new FairwayError('unsealable', 'a sealed value was changed, or sealed under another key', {
    status: 500,
  })
