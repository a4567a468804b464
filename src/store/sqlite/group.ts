import { FairwayError } from '../../base/errors.ts'
import { CompactedError, StoreLimitError, type WatchBatch } from '../store.ts'
import type { Engine } from './engine.ts'
import { type CallName, type Calls, type Reply, type Request, toWire } from './protocol.ts'
import { explain, SQLITE, sqliteCode } from './schema.ts'

export interface GroupResult {
  readonly replies: readonly Reply[]
  readonly batches: readonly WatchBatch[]
}

/**
 * Runs requests in order and makes their changes durable with one commit: many callers share one
 * fsync. No reply leaves before it. When anything but a refusal goes wrong, nothing of the group
 * has happened, and each request is tried on its own, so that the one at fault fails alone.
 */
export class GroupCommit {
  readonly #engine: Engine
  readonly #path: string
  #fatal: FairwayError | undefined

  constructor(engine: Engine, path: string) {
    this.#engine = engine
    this.#path = path
  }

  /** Why the store cannot go on, once it cannot. */
  get fatal(): FairwayError | undefined {
    return this.#fatal
  }

  run(requests: readonly Request[]): GroupResult {
    if (this.#fatal) return refuseAll(requests, this.#fatal)
    try {
      const replies = requests.map((request) => this.#answer(request))
      return { replies, batches: this.#engine.commit() }
    } catch (error) {
      return this.#recover(requests, error)
    }
  }

  #recover(requests: readonly Request[], error: unknown): GroupResult {
    const known = explain(error, this.#path)
    try {
      this.#engine.rollback()
    } catch (cause) {
      this.#fatal = explain(cause, this.#path)
    }
    // After a failed write or fsync the kernel may have dropped the dirty pages, and a second try
    // could seem to work: only a new process that reads the log from disk knows what is there.
    if (isFatal(error)) this.#fatal = known
    if (this.#fatal || requests.length === 1) return refuseAll(requests, this.#fatal ?? known)
    const results = requests.map((request) => this.run([request]))
    return {
      replies: results.flatMap(({ replies }) => replies),
      batches: results.flatMap(({ batches }) => batches),
    }
  }

  #answer(request: Request): Reply {
    const { id } = request
    try {
      this.#engine.expire(request.now)
      return { id, result: call(this.#engine, request) }
    } catch (error) {
      if (!isRefusal(error)) throw error
      return { id, error: toWire(error) }
    }
  }
}

function call(engine: Engine, request: Request): Calls[CallName]['result'] {
  switch (request.call) {
    case 'get':
      return engine.get(request.key)
    case 'range':
      return engine.range(request.prefix, request.limit, request.options)
    case 'txn':
      return engine.txn(request.txn)
    case 'changes':
      return engine.changes(request.prefixes, request.after)
    case 'grant':
      return engine.grant(request.ttlMs, request.now)
    case 'renew':
      return engine.leases.renew(request.lease, request.now)
    case 'revoke':
      engine.revoke(request.lease)
      return undefined
    case 'tick':
    case 'feedOff':
      return undefined
  }
}

/** An answer that the engine gives before it has changed anything. */
const isRefusal = (error: unknown): error is StoreLimitError | CompactedError | FairwayError =>
  error instanceof StoreLimitError ||
  error instanceof CompactedError ||
  error instanceof FairwayError

const FATAL: readonly (number | undefined)[] = [SQLITE.IOERR, SQLITE.CORRUPT, SQLITE.NOTADB]
const isFatal = (error: unknown) => FATAL.includes(sqliteCode(error))

const refuseAll = (requests: readonly Request[], error: FairwayError): GroupResult => ({
  replies: requests.map(({ id }) => ({ id, error: toWire(error) })),
  batches: [],
})
