import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { FairwayError, messageOf } from '../../base/errors.ts'

/** "FWAY": tells our files from other programs' databases. */
const APPLICATION_ID = 0x46574159
const SCHEMA_VERSION = 1
/** A file up to this size is checked page by page when it is opened (about 2 ms per MiB). */
const CHECK_BYTES_MAX = 64 * 1024 * 1024
const CACHE_KIB = 64 * 1024
const WAL_BYTES_KEPT = 64 * 1024 * 1024

/**
 * `history` holds every version (a null value is a deletion) and is the only place of values;
 * `live` points at the newest version of each key that exists. `swept` says how far compaction
 * has deleted: versions up to `id` that a later version up to `rev` replaced are gone.
 */
const SCHEMA = `
  CREATE TABLE history (
    id INTEGER PRIMARY KEY, rev INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,
    created INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT
  ) STRICT;
  CREATE INDEX history_rev ON history (rev);
  CREATE UNIQUE INDEX history_key ON history (key, rev);
  CREATE TABLE live (
    key TEXT PRIMARY KEY, id INTEGER NOT NULL, rev INTEGER NOT NULL, created INTEGER NOT NULL,
    version INTEGER NOT NULL, lease TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX live_lease ON live (lease, key) WHERE lease IS NOT NULL;
  CREATE TABLE lease (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE swept (id INTEGER NOT NULL, rev INTEGER NOT NULL) STRICT;
  INSERT INTO swept VALUES (0, 0);
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`

/** Opens or makes the file (0600), exclusively. Throws `FairwayError` with a `store_` code. */
export function openDatabase(path: string, lockWaitMs = 0): DatabaseSync {
  let db: DatabaseSync | undefined
  try {
    if (path !== ':memory:') makeFile(path)
    db = new DatabaseSync(path, { timeout: lockWaitMs })
    configure(db)
    prepareSchema(db, path)
    if (path !== ':memory:' && statSync(path).size <= CHECK_BYTES_MAX) check(db, path)
    return db
  } catch (error) {
    if (db?.isOpen) db.close()
    throw explain(error, path)
  }
}

function makeFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  // Made by us and not by SQLite, whose files follow the umask; the WAL takes the file's mode.
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const directory = openSync(dirname(path), 'r')
  fsyncSync(directory)
  closeSync(directory)
}

function configure(db: DatabaseSync): void {
  // Exclusive: watchers are told by the one writer, so a second one must not exist.
  db.exec('PRAGMA locking_mode = EXCLUSIVE')
  db.exec('PRAGMA journal_mode = WAL')
  db.exec('PRAGMA synchronous = FULL')
  db.exec('PRAGMA temp_store = MEMORY')
  db.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
  db.exec(`PRAGMA journal_size_limit = ${WAL_BYTES_KEPT}`)
}

function prepareSchema(db: DatabaseSync, path: string): void {
  // Writing at once takes the lock now, not at the first transaction.
  db.exec('BEGIN IMMEDIATE')
  const applicationId = pragma(db, 'application_id')
  const version = pragma(db, 'user_version')
  const tables = Number(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n)
  if (applicationId === 0 && version === 0 && tables === 0) db.exec(SCHEMA)
  else if (applicationId !== APPLICATION_ID)
    throw new FairwayError('store_foreign', `${path} is another program's database; name another`)
  else if (version > SCHEMA_VERSION)
    throw new FairwayError(
      'store_newer',
      `${path} has schema ${version}, and this version of Fairway knows up to ${SCHEMA_VERSION}; run the newer version`,
    )
  db.exec('COMMIT')
}

const pragma = (db: DatabaseSync, name: string): number =>
  Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0])

function check(db: DatabaseSync, path: string): void {
  const found = Object.values(db.prepare('PRAGMA quick_check(1)').get() ?? {})[0]
  if (found !== 'ok') throw corrupt(path, String(found))
}

const corrupt = (path: string, cause: unknown) =>
  new FairwayError(
    'store_corrupt',
    `${path} is damaged (${messageOf(cause)}); restore a backup, or move the file away to begin empty`,
    { status: 503, cause },
  )

/** SQLite's primary result codes; extended ones carry them in the low byte. */
export const SQLITE = { BUSY: 5, IOERR: 10, CORRUPT: 11, FULL: 13, NOTADB: 26 } as const

export function sqliteCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | undefined)?.errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

/** The error that a person can act on, for whatever SQLite or the file system threw. */
export function explain(error: unknown, path: string): FairwayError {
  if (error instanceof FairwayError) return error
  switch (sqliteCode(error)) {
    case SQLITE.BUSY:
      return new FairwayError('store_in_use', `${path} is in use by another process; stop it first`)
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB:
      return corrupt(path, error)
    case SQLITE.FULL:
      return new FairwayError('store_full', `no space left for ${path}; nothing was changed`, {
        status: 507,
        cause: error,
      })
    default:
      return new FairwayError('store_failed', `the store at ${path} failed: ${messageOf(error)}`, {
        status: 503,
        cause: error,
      })
  }
}
