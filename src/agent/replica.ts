import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import { type ReplicaBatch, ReplicaBatcher } from './replica-batch.ts'

/**
 * The last complete state that a host received, on its disk, so that agent and edge start without the
 * control plane. A cache: a file that cannot be read is thrown away and filled again.
 */
export interface Replica {
  /** Revision of the stored state; 0 when there is none. */
  readonly revision: number
  /** The stored state as a snapshot's lines, `synced` last; nothing when there is none. */
  lines(): IterableIterator<FeedLine>
  /** Takes the next line of a feed; throws when the disk fails. */
  apply(line: FeedLine): void
  /** One transaction; for whoever collects lines elsewhere (ReplicaWriter). Throws likewise. */
  write(batch: ReplicaBatch): void
  close(): void
}

const SCHEMA_VERSION = 1
const BUSY_TIMEOUT_MS = 2_000
const LINE_EVENTS_MAX = 500
/** A snapshot is written in transactions of about so many keys. */
const BATCH_CHANGES_MAX = 2_000

const SCHEMA = `
  CREATE TABLE entry (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE staged (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE state (revision INTEGER NOT NULL);
  INSERT INTO state VALUES (0);
  PRAGMA user_version = ${SCHEMA_VERSION};
`

/**
 * Opens the replica in the file at `path` (mode 0600), made anew when it is missing or damaged.
 * `readOnly` never writes: a missing or damaged file reads as empty, and a writer may be at work.
 */
export function openReplica(path: string, { readOnly = false } = {}): Replica {
  if (readOnly) {
    if (!existsSync(path)) return new SqliteReplica(undefined)
    try {
      return new SqliteReplica(connect(path, true))
    } catch {
      return new SqliteReplica(undefined)
    }
  }
  try {
    return new SqliteReplica(connect(path, false))
  } catch {
    for (const end of ['', '-wal', '-shm']) rmSync(path + end, { force: true })
    return new SqliteReplica(connect(path, false))
  }
}

/**
 * Tells every line of the replica at `path`, which is not written to. Gives the revision from which to
 * follow the feed: 0 when there is no replica.
 */
export function replayReplica(path: string, onLine: (line: FeedLine) => void): number {
  const replica = openReplica(path, { readOnly: true })
  try {
    let revision = 0
    for (const line of replica.lines()) {
      if (line.t === 'synced') revision = line.revision
      onLine(line)
    }
    return revision
  } finally {
    replica.close()
  }
}

function connect(path: string, readOnly: boolean): DatabaseSync {
  if (!readOnly) closeSync(openSync(path, 'a', 0o600)) // SQLite's own files take its mode over.
  const db = new DatabaseSync(path, { readOnly, timeout: BUSY_TIMEOUT_MS })
  try {
    const version = db.prepare('PRAGMA user_version').get()!.user_version
    if (!readOnly) {
      // A crash may cost the last moments (the feed repeats them), never the file's order.
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
      if (version === 0) db.exec(`BEGIN; ${SCHEMA} COMMIT`)
    }
    if (version !== SCHEMA_VERSION && (readOnly || version !== 0))
      throw new Error(`the replica's format is ${String(version)}, not ${SCHEMA_VERSION}`)
    const check = db.prepare('PRAGMA quick_check(1)').get()!.quick_check
    if (check !== 'ok') throw new Error(`the replica is damaged: ${String(check)}`)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

class SqliteReplica implements Replica {
  readonly #db: DatabaseSync | undefined
  readonly #batcher = new ReplicaBatcher()
  #staging = false
  #revision: number

  constructor(db: DatabaseSync | undefined) {
    this.#db = db
    this.#revision = Number(db?.prepare('SELECT revision FROM state').get()?.revision ?? 0)
  }

  get revision(): number {
    return this.#revision
  }

  *lines(): Generator<FeedLine> {
    const db = this.#db
    if (!db) return
    db.exec('BEGIN') // One state, whatever another connection writes meanwhile.
    try {
      const revision = Number(db.prepare('SELECT revision FROM state').get()!.revision)
      if (revision === 0) return
      yield { t: 'snapshot' }
      let events: FeedEvent[] = []
      for (const row of db.prepare('SELECT key, value, revision FROM entry').iterate()) {
        events.push(['put', String(row.key), JSON.parse(String(row.value)), Number(row.revision)])
        if (events.length < LINE_EVENTS_MAX) continue
        yield { t: 'events', revision, events }
        events = []
      }
      if (events.length > 0) yield { t: 'events', revision, events }
      yield { t: 'synced', revision }
    } finally {
      db.exec('COMMIT')
    }
  }

  apply(line: FeedLine): void {
    this.#batcher.add(line)
    const { isEmpty, isComplete, size } = this.#batcher
    if (!isEmpty && (isComplete || size >= BATCH_CHANGES_MAX)) this.write(this.#batcher.take())
  }

  write(batch: ReplicaBatch): void {
    const db = this.#db
    if (!db) throw new Error('the replica was opened to be read only')
    const staging = batch.begin || this.#staging
    db.exec('BEGIN IMMEDIATE')
    try {
      if (batch.begin) db.exec('DELETE FROM staged')
      writeChanges(db, staging ? 'staged' : 'entry', batch.changes)
      if (batch.revision !== null) {
        if (staging)
          db.exec(`
            DELETE FROM entry;
            INSERT INTO entry SELECT * FROM staged;
            DELETE FROM staged`)
        db.prepare('UPDATE state SET revision = ?').run(batch.revision)
      }
      db.exec('COMMIT')
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
    this.#staging = staging && batch.revision === null
    this.#revision = batch.revision ?? this.#revision
  }

  close(): void {
    if (this.#db?.isOpen) this.#db.close()
  }
}

function writeChanges(
  db: DatabaseSync,
  table: 'entry' | 'staged',
  changes: ReplicaBatch['changes'],
): void {
  if (changes.size === 0) return
  const put = db.prepare(`INSERT OR REPLACE INTO ${table} VALUES (?, ?, ?)`)
  const remove = db.prepare(`DELETE FROM ${table} WHERE key = ?`)
  for (const [key, change] of changes) {
    if (change) put.run(key, ...change)
    else remove.run(key)
  }
}
