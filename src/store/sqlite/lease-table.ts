import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { FairwayError } from '../../base/errors.ts'
import { noSuchLease } from '../limits.ts'

export const LEASES_MAX = 1_000_000

/**
 * Which leases exist (on disk) and when each ends (in a temporary table: after a restart every
 * lease has its whole TTL again, as in etcd, because its owner could not renew meanwhile).
 * Both belong to the transaction at hand, so a rollback undoes them together.
 */
export class LeaseTable {
  readonly #sql: ReturnType<typeof prepare>
  #nextAt = Number.POSITIVE_INFINITY
  #count = 0

  constructor(db: DatabaseSync, now: number) {
    db.exec(`
      CREATE TEMP TABLE lease_end (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL, at REAL NOT NULL)
        STRICT, WITHOUT ROWID;
      CREATE INDEX temp.lease_end_at ON lease_end (at, id);
    `)
    db.prepare('INSERT INTO lease_end SELECT id, ttl_ms, ttl_ms + ? FROM lease').run(now)
    this.#sql = prepare(db)
    this.reload()
  }

  /** When the next lease ends; infinity when there is none. */
  get nextAt(): number {
    return this.#nextAt
  }

  /** After a rollback: what is kept in memory follows the tables again. */
  reload(): void {
    const { next, count } = this.#sql.summary.get() as { next: number | null; count: number }
    this.#nextAt = next ?? Number.POSITIVE_INFINITY
    this.#count = count
  }

  has(lease: string): boolean {
    return this.#sql.find.get(lease) !== undefined
  }

  require(lease: string): void {
    if (!this.has(lease)) throw noSuchLease(lease)
  }

  grant(ttlMs: number, now: number): string {
    if (this.#count >= LEASES_MAX)
      throw new FairwayError('store_busy', `${LEASES_MAX} leases exist already; revoke some`, {
        status: 503,
      })
    const lease = randomBytes(8).toString('hex')
    this.#sql.add.run(lease, ttlMs)
    this.#sql.addEnd.run(lease, ttlMs, now + ttlMs)
    this.#count += 1
    this.#nextAt = Math.min(this.#nextAt, now + ttlMs)
    return lease
  }

  renew(lease: string, now: number): boolean {
    if (this.#sql.renew.run(now, lease).changes === 0) return false
    this.#readNext()
    return true
  }

  remove(lease: string): void {
    this.#sql.remove.run(lease)
    this.#sql.removeEnd.run(lease)
    this.#count -= 1
    this.#readNext()
  }

  /** One lease that has ended, the earliest first. */
  due(now: number): string | undefined {
    if (this.#nextAt > now) return undefined
    return (this.#sql.due.get(now) as { id: string } | undefined)?.id
  }

  #readNext(): void {
    const row = this.#sql.next.get() as { at: number } | undefined
    this.#nextAt = row?.at ?? Number.POSITIVE_INFINITY
  }
}

const prepare = (db: DatabaseSync) => ({
  summary: db.prepare('SELECT min(at) AS next, count(*) AS count FROM lease_end'),
  next: db.prepare('SELECT at FROM lease_end ORDER BY at, id LIMIT 1'),
  find: db.prepare('SELECT 1 FROM lease_end WHERE id = ?'),
  due: db.prepare('SELECT id FROM lease_end WHERE at <= ? ORDER BY at, id LIMIT 1'),
  add: db.prepare('INSERT INTO lease VALUES (?, ?)'),
  addEnd: db.prepare('INSERT INTO lease_end VALUES (?, ?, ?)'),
  renew: db.prepare('UPDATE lease_end SET at = ttl_ms + ? WHERE id = ?'),
  remove: db.prepare('DELETE FROM lease WHERE id = ?'),
  removeEnd: db.prepare('DELETE FROM lease_end WHERE id = ?'),
})
