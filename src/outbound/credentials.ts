import { hash, timingSafeEqual } from 'node:crypto'
import type { Directory, OutboundUser } from './directory.ts'
import { CREDENTIAL_BYTES_MAX } from './limits.ts'

/** What is compared with when nobody has that name, so that both cases take as long. */
const NOBODY = Buffer.alloc(32)

/**
 * The user with that name and secret, or null. Only SHA-256 of secrets is known here; secrets have
 * 256 random bits, so that neither salt nor a slow hash would add anything.
 */
export function authenticate(
  directory: Directory,
  name: string,
  secret: string,
  nowMs: number,
): OutboundUser | null {
  const user = directory.user(name)
  const given = hash('sha256', secret, 'buffer')
  const same = timingSafeEqual(given, user?.hash ?? NOBODY)
  return user && same && isValid(user, nowMs) ? user : null
}

export const isValid = (user: OutboundUser, nowMs: number): boolean =>
  !user.gone && nowMs < user.expiresAtMs

/** Name and secret of `Basic <base64>` (RFC 7617), or null. */
export function parseBasic(value: string): { name: string; secret: string } | null {
  const match = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(value)
  if (!match || match[1]!.length > BASE64_MAX) return null
  const text = Buffer.from(match[1]!, 'base64').toString('latin1')
  const colon = text.indexOf(':')
  if (colon < 0 || colon > CREDENTIAL_BYTES_MAX) return null
  return { name: text.slice(0, colon), secret: text.slice(colon + 1) }
}
const BASE64_MAX = Math.ceil(((2 * CREDENTIAL_BYTES_MAX + 1) * 4) / 3) + 4
