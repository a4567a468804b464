import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { Engine } from './engine.ts'
import { GroupCommit, type GroupResult } from './group.ts'
import {
  type EngineOptions,
  type FromEngine,
  type Opened,
  type Request,
  type ToEngine,
  toWire,
} from './protocol.ts'
import { explain, openDatabase } from './schema.ts'

/** Requests that share one commit at most: bounds how long the first of them waits. */
const GROUP_MAX = 512

/** Opens the store and answers what comes through the port, until it is told to close. */
export function serve(port: MessagePort, options: EngineOptions): void {
  try {
    answerAll(port, options)
  } catch (error) {
    port.postMessage({ error: toWire(explain(error, options.path)) } satisfies Opened)
    port.close()
  }
}

function answerAll(
  port: MessagePort,
  { path, retainRevisions, lockWaitMs, now }: EngineOptions,
): void {
  const db = openDatabase(path, lockWaitMs)
  const engine = new Engine(db, { retain: retainRevisions, now })
  const group = new GroupCommit(engine, path)
  const queue: Request[] = []
  let feed = false
  let closing = false

  port.on('message', (message: ToEngine) => {
    accept(message)
    // Whatever else has arrived shares the commit.
    for (let more = receiveMessageOnPort(port); more; more = receiveMessageOnPort(port))
      accept(more.message)
    while (queue.length > 0) answer(queue.splice(0, GROUP_MAX))
    if (closing) close()
  })
  port.postMessage({ nextLeaseEnd: engine.leases.nextAt } satisfies Opened)

  function accept(message: ToEngine): void {
    if (message === 'close') closing = true
    else for (const request of message) queue.push(request)
  }

  function answer(requests: readonly Request[]): void {
    for (const { call } of requests) {
      if (call === 'changes') feed = true
      if (call === 'feedOff') feed = false
    }
    const { replies, batches } = group.run(requests)
    report({ replies, batches: feed ? batches : [] })
  }

  function report(result: GroupResult): void {
    const message: FromEngine = { ...result, nextLeaseEnd: engine.leases.nextAt }
    port.postMessage(group.fatal ? { ...message, fatal: toWire(group.fatal) } : message)
  }

  function close(): void {
    db.close()
    port.close()
  }
  // A caller that gives up closes its end.
  port.on('close', () => {
    if (db.isOpen) db.close()
  })
}
