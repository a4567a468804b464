import {
  type Compare,
  KEY_BYTES_MAX,
  LEASE_TTL_MS_MAX,
  type Op,
  RANGE_LIMIT_MAX,
  type RangeOptions,
  StoreLimitError,
  TXN_BYTES_MAX,
  TXN_OPS_MAX,
  type Txn,
  VALUE_BYTES_MAX,
  WATCH_PREFIXES_MAX,
} from './store.ts'

/** What a message shows of a key: keys may be long, and never secret. */
const shown = (key: string) => JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}...` : key)

/** Keys and values are UTF-8: a lone surrogate would come back as another string. */
function checkText(what: string, text: string): number {
  if (typeof text !== 'string' || !text.isWellFormed())
    throw new StoreLimitError('malformed', `${what} is not well-formed Unicode text`)
  return Buffer.byteLength(text)
}

/** Returns the key's bytes. */
export function checkKey(key: string): number {
  if (key === '') throw new StoreLimitError('malformed', 'a key must not be empty')
  return checkPrefix(key)
}

export function checkPrefix(prefix: string): number {
  const bytes = checkText('a key', prefix)
  if (bytes > KEY_BYTES_MAX)
    throw new StoreLimitError(
      'key_too_large',
      `key ${shown(prefix)} has ${bytes} bytes; at most ${KEY_BYTES_MAX} are allowed`,
    )
  return bytes
}

export function checkPrefixes(prefixes: readonly string[]): void {
  if (prefixes.length > WATCH_PREFIXES_MAX)
    throw new StoreLimitError(
      'malformed',
      `${prefixes.length} prefixes in one watch; at most ${WATCH_PREFIXES_MAX} are allowed`,
    )
  for (const prefix of prefixes) checkPrefix(prefix)
}

function checkValue(key: string, value: string): number {
  const bytes = checkText(`the value of ${shown(key)}`, value)
  if (bytes > VALUE_BYTES_MAX)
    throw new StoreLimitError(
      'value_too_large',
      `the value of ${shown(key)} has ${bytes} bytes; at most ${VALUE_BYTES_MAX} are allowed`,
    )
  return bytes
}

/** Throws `StoreLimitError` for a transaction that no engine takes; returns its bytes. */
export function checkTxn(txn: Txn): number {
  const bytes =
    checkCompares(txn.when ?? []) +
    checkOps('then', txn.then) +
    checkOps('otherwise', txn.otherwise ?? [])
  if (bytes > TXN_BYTES_MAX)
    throw new StoreLimitError(
      'txn_too_large',
      `the transaction has ${bytes} bytes of keys and values; at most ${TXN_BYTES_MAX} are allowed`,
    )
  return bytes
}

function checkCompares(compares: readonly Compare[]): number {
  checkCount('when', compares.length)
  let bytes = 0
  for (const compare of compares) {
    bytes += checkKey(compare.key)
    if ('value' in compare) bytes += checkValue(compare.key, compare.value)
    else checkRevision(`modRevision of ${shown(compare.key)}`, compare.modRevision)
  }
  return bytes
}

function checkOps(list: string, ops: readonly Op[]): number {
  checkCount(list, ops.length)
  let bytes = 0
  const seen = new Map<string, 'put' | 'delete'>()
  for (const op of ops) {
    const kind = 'put' in op ? 'put' : 'delete'
    const key = 'put' in op ? op.put : op.delete
    bytes += checkKey(key)
    if ('put' in op) bytes += checkValue(key, op.value)
    // As in etcd: deleting twice is harmless, but a put leaves no doubt only when it is alone.
    const before = seen.get(key)
    if (before && (before === 'put' || kind === 'put'))
      throw new StoreLimitError('duplicate_key', `key ${shown(key)} is changed twice in "${list}"`)
    seen.set(key, kind)
  }
  return bytes
}

function checkCount(list: string, count: number): void {
  if (count > TXN_OPS_MAX)
    throw new StoreLimitError(
      'too_many_ops',
      `"${list}" has ${count} entries; at most ${TXN_OPS_MAX} are allowed in one transaction`,
    )
}

export function checkRevision(what: string, revision: number): void {
  if (!Number.isSafeInteger(revision) || revision < 0)
    throw new StoreLimitError('malformed', `${what} is ${revision}; it must be 0 or more`)
}

/** Returns the page's limit. */
export function checkRange(prefix: string, options: RangeOptions): number {
  checkPrefix(prefix)
  if (options.after !== undefined) checkPrefix(options.after)
  if (options.revision !== undefined) checkRevision('revision', options.revision)
  const limit = options.limit ?? RANGE_LIMIT_MAX
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new StoreLimitError('malformed', `limit is ${limit}; it must be 1 or more`)
  return Math.min(limit, RANGE_LIMIT_MAX)
}

export function futureRevision(asked: number, current: number): StoreLimitError {
  return new StoreLimitError(
    'future_revision',
    `revision ${asked} has not been reached; the store is at ${current}`,
  )
}

export function checkTtl(ttlMs: number): void {
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 1 || ttlMs > LEASE_TTL_MS_MAX)
    throw new StoreLimitError(
      'bad_lease',
      `a lease's ttlMs is ${ttlMs}; it must be a whole number from 1 to ${LEASE_TTL_MS_MAX}`,
    )
}

export const noSuchLease = (lease: string) =>
  new StoreLimitError('bad_lease', `lease ${shown(lease)} does not exist or has ended`)

/** The order of keys: by their UTF-8 bytes, which UTF-16 comparison does not give. */
export const compareKeys = (a: string, b: string): number =>
  Buffer.compare(Buffer.from(a), Buffer.from(b))

/**
 * The least string greater than every string with `prefix`, or `undefined` when there is none.
 * UTF-8 keeps the order of code points, so the last one that has a successor is replaced by it.
 */
export function prefixEnd(prefix: string): string | undefined {
  const points = Array.from(prefix, (c) => c.codePointAt(0)!)
  while (points.length > 0) {
    const last = points.pop()!
    if (last === 0x10ffff) continue
    const next = last === 0xd7ff ? 0xe000 : last + 1
    return String.fromCodePoint(...points, next)
  }
  return undefined
}
