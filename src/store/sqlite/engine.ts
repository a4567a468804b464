import type { DatabaseSync } from 'node:sqlite'
import { compareKeys, futureRevision, prefixEnd } from '../limits.ts'
import {
  CompactedError,
  type Compare,
  type KeyValue,
  type Op,
  RANGE_BYTES_MAX,
  type RangeOptions,
  type RangeResult,
  type Txn,
  type TxnResult,
  type WatchBatch,
  type WatchEvent,
} from '../store.ts'
import { LeaseTable } from './lease-table.ts'

/** History rows that one read of changes looks at; a revision is never cut in two. */
const CHANGES_ROWS_MAX = 1_000
const CHANGES_BYTES_MAX = 4 * 1024 * 1024
/** Rows that a range reads at a time. */
const RANGE_CHUNK = 50
/** What one commit compacts at least; more when it wrote more, so that compaction keeps up. */
const SWEEP_ROWS_MIN = 64

export interface Changes {
  readonly batches: readonly WatchBatch[]
  /** The batches show every change up to this revision. */
  readonly revision: number
  /** Whether that was the store's revision at the time. */
  readonly head: boolean
}

interface LiveRow {
  readonly id: number
  readonly rev: number
  readonly created: number
  readonly version: number
}
type VersionRow = { readonly [column in keyof KeyValue]: KeyValue[column] | null }
interface HistoryRow {
  readonly id: number
  readonly rev: number
  readonly key: string
}

/**
 * The store's rules over one SQLite database, synchronously. Between `begin` and `commit` its
 * answers are provisional; the caller keeps them until the commit is on disk.
 */
export class Engine {
  readonly #db: DatabaseSync
  readonly #retain: number
  readonly #sql: ReturnType<typeof prepare>
  readonly leases: LeaseTable
  #revision: number
  /** Changes at or before this cannot be told any more. */
  #swept: { id: number; rev: number }
  #open: { revision: number; swept: { id: number; rev: number } } | undefined
  #batches: WatchBatch[] = []
  #rowsWritten = 0

  /** `retain`: how many revisions before the current one stay readable (1 or more). */
  constructor(db: DatabaseSync, { retain, now }: { retain: number; now: number }) {
    this.#db = db
    this.#retain = retain
    this.#sql = prepare(db)
    this.#revision = Number(this.#sql.maxRevision.get()?.rev ?? 0)
    this.#swept = this.#sql.swept.get() as unknown as { id: number; rev: number }
    this.leases = new LeaseTable(db, now)
  }

  get revision(): number {
    return this.#revision
  }

  /** The oldest revision that can be asked for. */
  get compactRevision(): number {
    return Math.max(this.#swept.rev, this.#revision - this.#retain)
  }

  /** Idempotent: a group of readers needs no transaction, so it begins with the first writer. */
  begin(): void {
    if (this.#open) return
    this.#db.exec('BEGIN IMMEDIATE')
    this.#open = { revision: this.#revision, swept: this.#swept }
  }

  /** Returns, once they are durable, the changes since `begin`. */
  commit(): readonly WatchBatch[] {
    if (!this.#open) return []
    if (this.#rowsWritten > 0) this.#sweep(Math.max(SWEEP_ROWS_MIN, 2 * this.#rowsWritten))
    this.#db.exec('COMMIT')
    const batches = this.#batches
    this.#forget()
    return batches
  }

  /** As if nothing since `begin` had happened. */
  rollback(): void {
    if (!this.#open) return
    this.#revision = this.#open.revision
    this.#swept = this.#open.swept
    this.#forget()
    // Some errors (disk full) make SQLite roll back by itself.
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
    this.leases.reload()
  }

  #forget(): void {
    this.#open = undefined
    this.#batches = []
    this.#rowsWritten = 0
  }

  get(key: string): KeyValue | undefined {
    const row = this.#sql.get.get(key) as VersionRow | undefined
    return row && toKeyValue(row)
  }

  /** The arguments have been checked; `limit` is the page's. */
  range(prefix: string, limit: number, options: RangeOptions): RangeResult {
    const revision = options.revision ?? this.#revision
    if (revision > this.#revision) throw futureRevision(revision, this.#revision)
    if (revision < this.compactRevision) throw new CompactedError(this.compactRevision)
    const from = lowerBound(prefix, options.after)
    const to = upperBound(prefix)
    const kvs: KeyValue[] = []
    let bytes = 0
    for (const row of this.#rows(from, to, revision)) {
      if (kvs.length === limit || bytes >= RANGE_BYTES_MAX) return { kvs, revision, more: true }
      const kv = toKeyValue(row)
      kvs.push(kv)
      bytes += kv.value.length
    }
    return { kvs, revision, more: false }
  }

  /** In chunks: a statement's own iterator costs four times as much, and all at once is unbounded. */
  *#rows(from: string, to: string | Uint8Array, revision: number): Iterable<VersionRow> {
    let next = from
    for (;;) {
      const rows = (revision === this.#revision
        ? this.#sql.rangeNow.all(next, to, RANGE_CHUNK)
        : this.#sql.rangeAt.all(next, to, revision, RANGE_CHUNK)) as unknown as VersionRow[]
      yield* rows
      if (rows.length < RANGE_CHUNK) return
      next = `${rows.at(-1)!.key}\0`
    }
  }

  /** Every change after `after` to keys with one of `prefixes`, up to a bound per call. */
  changes(prefixes: readonly string[], after: number): Changes {
    if (after < this.compactRevision || after > this.#revision)
      throw new CompactedError(this.compactRevision)
    const { rows, revision } = this.#rowsAfter(after)
    const batches: { revision: number; events: WatchEvent[] }[] = []
    let bytes = 0
    let through = after
    for (const row of rows) {
      if (row.rev !== through && bytes >= CHANGES_BYTES_MAX)
        return { batches, revision: through, head: false }
      through = row.rev
      if (!prefixes.some((prefix) => row.key.startsWith(prefix))) continue
      const event = this.#event(row)
      if (event.type === 'put') bytes += event.kv.value.length
      if (batches.at(-1)?.revision === row.rev) batches.at(-1)?.events.push(event)
      else batches.push({ revision: row.rev, events: [event] })
    }
    return { batches, revision, head: revision === this.#revision }
  }

  /** Rows of whole revisions after `after`, and the last revision that they complete. */
  #rowsAfter(after: number): { rows: readonly HistoryRow[]; revision: number } {
    const rows = this.#sql.rowsAfter.all(after, CHANGES_ROWS_MAX) as unknown as HistoryRow[]
    if (rows.length < CHANGES_ROWS_MAX) return { rows, revision: this.#revision }
    const last = rows.at(-1)!.rev
    if (rows[0]!.rev === last)
      return { rows: this.#sql.rowsAt.all(last) as unknown as HistoryRow[], revision: last }
    const whole = rows.filter((row) => row.rev < last)
    return { rows: whole, revision: whole.at(-1)!.rev }
  }

  #event(row: HistoryRow): WatchEvent {
    const version = this.#sql.version.get(row.id) as unknown as VersionRow
    return version.value === null
      ? { type: 'delete', key: row.key }
      : { type: 'put', kv: toKeyValue(version) }
  }

  /** Limits have been checked; throws before the first change when a lease does not exist. */
  txn(txn: Txn): TxnResult {
    const succeeded = (txn.when ?? []).every((compare) => this.#holds(compare))
    const ops = succeeded ? txn.then : (txn.otherwise ?? [])
    for (const op of ops) if ('put' in op && op.lease !== undefined) this.leases.require(op.lease)
    this.#apply(ops)
    return { succeeded, revision: this.#revision }
  }

  #holds(compare: Compare): boolean {
    if ('value' in compare) return this.get(compare.key)?.value === compare.value
    return (this.#live(compare.key)?.rev ?? 0) === compare.modRevision
  }

  #live(key: string): LiveRow | undefined {
    return this.#sql.live.get(key) as LiveRow | undefined
  }

  #apply(ops: readonly Op[]): void {
    if (ops.length === 0) return
    this.begin()
    const revision = this.#revision + 1
    const events: WatchEvent[] = []
    for (const op of ops) {
      const event = 'put' in op ? this.#put(op, revision) : this.#delete(op.delete, revision)
      if (event) events.push(event)
    }
    if (events.length === 0) return
    this.#revision = revision
    this.#rowsWritten += events.length
    this.#batches.push({ revision, events })
  }

  #put(op: Extract<Op, { put: string }>, revision: number): WatchEvent {
    const { put: key, value, lease } = op
    const before = this.#live(key)
    const created = before?.created ?? revision
    const version = (before?.version ?? 0) + 1
    const { lastInsertRowid: id } = this.#sql.addVersion.run(
      revision,
      key,
      value,
      created,
      version,
      lease ?? null,
    )
    this.#sql.setLive.run(key, id, revision, created, version, lease ?? null)
    const kv = { key, value, createRevision: created, modRevision: revision, version }
    return { type: 'put', kv: lease === undefined ? kv : { ...kv, lease } }
  }

  #delete(key: string, revision: number): WatchEvent | undefined {
    if (this.#sql.unsetLive.run(key).changes === 0) return undefined
    this.#sql.addVersion.run(revision, key, null, 0, 0, null)
    return { type: 'delete', key }
  }

  grant(ttlMs: number, now: number): string {
    this.begin()
    return this.leases.grant(ttlMs, now)
  }

  revoke(lease: string): void {
    if (!this.leases.has(lease)) return
    this.begin()
    this.#end(lease)
  }

  /** Ends the leases that are due, each with its keys as one revision. */
  expire(now: number): void {
    for (let due = this.leases.due(now); due; due = this.leases.due(now)) {
      this.begin()
      this.#end(due)
    }
  }

  #end(lease: string): void {
    const keys = this.#sql.leased.all(lease) as unknown as { key: string }[]
    this.#apply(keys.map(({ key }) => ({ delete: key })))
    this.leases.remove(lease)
  }

  /** Deletes versions that nobody may ask for any more, at most about `rows` of them. */
  #sweep(rows: number): void {
    const target = this.#revision - this.#retain
    if (target <= this.#swept.rev) return
    const due = this.#sql.sweepable.all(
      this.#swept.rev,
      target,
      this.#swept.id,
      rows,
    ) as unknown as (HistoryRow & {
      readonly deleted: 0 | 1
    })[]
    for (const { id, key, rev, deleted } of due) {
      this.#sql.dropBefore.run(key, rev)
      if (deleted) this.#sql.dropVersion.run(id)
      this.#swept = { id, rev }
    }
    if (due.length > 0) this.#sql.setSwept.run(this.#swept.id, this.#swept.rev)
  }
}

function toKeyValue(row: VersionRow): KeyValue {
  const { key, value, createRevision, modRevision, version } = row as KeyValue
  const kv = { key, value, createRevision, modRevision, version }
  return row.lease === null ? kv : { ...kv, lease: row.lease }
}

/** The first key that a page may hold: nothing sorts between a key and the key with NUL added. */
const lowerBound = (prefix: string, after: string | undefined): string =>
  after !== undefined && compareKeys(after, prefix) >= 0 ? `${after}\0` : prefix

/** Where the prefix ends. SQLite sorts every BLOB after every TEXT, so an empty one is "no end". */
const upperBound = (prefix: string): string | Uint8Array => prefixEnd(prefix) ?? new Uint8Array(0)

const KEY_VALUE = `h.key AS key, h.value AS value, h.created AS createRevision,
  h.rev AS modRevision, h.version AS version, h.lease AS lease`

const prepare = (db: DatabaseSync) => ({
  maxRevision: db.prepare('SELECT max(rev) AS rev FROM history'),
  swept: db.prepare('SELECT id, rev FROM swept'),
  setSwept: db.prepare('UPDATE swept SET id = ?, rev = ?'),
  get: db.prepare(`SELECT ${KEY_VALUE} FROM live l JOIN history h ON h.id = l.id WHERE l.key = ?`),
  rangeNow: db.prepare(
    `SELECT ${KEY_VALUE} FROM live l CROSS JOIN history h ON h.id = l.id
     WHERE l.key >= ? AND l.key < ? ORDER BY l.key LIMIT ?`,
  ),
  rangeAt: db.prepare(
    `SELECT ${KEY_VALUE} FROM history h INDEXED BY history_key
     WHERE h.key >= ?1 AND h.key < ?2 AND h.rev = (
       SELECT max(n.rev) FROM history n WHERE n.key = h.key AND n.rev <= ?3
     ) AND h.value IS NOT NULL ORDER BY h.key LIMIT ?4`,
  ),
  version: db.prepare(`SELECT ${KEY_VALUE} FROM history h WHERE h.id = ?`),
  rowsAfter: db.prepare('SELECT id, rev, key FROM history WHERE rev > ? ORDER BY rev, id LIMIT ?'),
  rowsAt: db.prepare('SELECT id, rev, key FROM history WHERE rev = ? ORDER BY id'),
  live: db.prepare('SELECT id, rev, created, version FROM live WHERE key = ?'),
  setLive: db.prepare('INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?, ?, ?)'),
  unsetLive: db.prepare('DELETE FROM live WHERE key = ?'),
  addVersion: db.prepare(
    'INSERT INTO history (rev, key, value, created, version, lease) VALUES (?, ?, ?, ?, ?, ?)',
  ),
  leased: db.prepare('SELECT key FROM live WHERE lease = ? ORDER BY key'),
  sweepable: db.prepare(
    `SELECT id, rev, key, value IS NULL AS deleted FROM history
     WHERE rev >= ? AND rev <= ? AND +id > ? ORDER BY rev, id LIMIT ?`,
  ),
  dropBefore: db.prepare('DELETE FROM history WHERE key = ? AND rev < ?'),
  dropVersion: db.prepare('DELETE FROM history WHERE id = ?'),
})
