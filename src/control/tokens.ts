import { createHash, randomBytes } from 'node:crypto'
import { isoTime } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import { ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import type { Token } from '../model/resources.ts'
import type { Actor, Control } from './context.ts'
import { del, put, readOne, transact } from './transact.ts'

/**
 * API tokens: `fo1_` and 43 characters of base64url (256 random bits). The store has the SHA-256 of
 * a token, which is also its key: with 256 bits of entropy there is nothing to guess or to salt, and
 * the time of the look-up depends on the hash alone.
 */

const TOKEN = /^fo1_[A-Za-z0-9_-]{43}$/
export const AUTHORIZATION_LENGTH_MAX = 8_192
/** How many tokens of a comma-joined header are tried. */
export const TOKENS_TRIED_MAX = 16

export interface NewToken {
  readonly name: string
  readonly user: Token['user']
  /** Slugs. */
  readonly orgs: readonly string[]
}

/** The plain token is returned here and never again. */
export async function createToken(
  control: Control,
  input: NewToken,
): Promise<{ token: string; record: Token }> {
  const token = `fo1_${randomBytes(32).toString('base64url')}`
  const nowMs = control.clock.now()
  const record: Token = {
    id: ulid(nowMs).toLowerCase(),
    name: input.name,
    user: input.user,
    orgs: [...input.orgs],
    createdAt: isoTime(nowMs),
  }
  const key = keys.token(sha256(token))
  await transact(control, async (read) => {
    await read.get(key)
    return { ops: [put(key, record)], result: null }
  })
  return { token, record }
}

/** Ends a token at once; false when it was none. */
export async function revokeToken(control: Control, token: string): Promise<boolean> {
  const key = keys.token(sha256(token))
  const { result } = await transact(control, async (read) => {
    const known = (await read.get(key)) !== undefined
    return { ops: known ? [del(key)] : [], result: known }
  })
  return result
}

/**
 * Who sends this Authorization header: `Bearer x`, `FlyV1 x`, or several tokens joined by commas, of
 * which the first that is ours counts. 401 when there is none.
 */
export async function authenticate(
  control: Control,
  authorization: string | undefined,
): Promise<Actor> {
  if (authorization === undefined || authorization.trim() === '') {
    throw unauthorized('this needs a token: send "Authorization: Bearer <token>"')
  }
  if (authorization.length > AUTHORIZATION_LENGTH_MAX) {
    throw unauthorized(`the Authorization header is longer than ${AUTHORIZATION_LENGTH_MAX} bytes`)
  }
  for (const token of tokensIn(authorization)) {
    const record = await readOne<Token>(control.store, keys.token(sha256(token)))
    if (record) return { token: record }
  }
  throw unauthorized('the token is not known here; see fairway auth whoami')
}

function tokensIn(authorization: string): string[] {
  const list = authorization.replace(/^\s*(Bearer|FlyV1)\s+/i, '')
  return list
    .split(',', TOKENS_TRIED_MAX)
    .map((piece) => piece.trim().replace(/^(Bearer|FlyV1)\s+/i, ''))
    .filter((piece) => TOKEN.test(piece))
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

const unauthorized = (message: string) => new FairwayError('unauthorized', message, { status: 401 })
