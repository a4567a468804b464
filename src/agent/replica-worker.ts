import { parentPort, workerData } from 'node:worker_threads'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { openReplica } from './replica.ts'
import type { ReplicaBatch } from './replica-batch.ts'

/** Writes batches one by one; answers each with `{}` or `{error}`, and `close` by ending. */
const replica = openReplica((workerData as { path: string }).path)

parentPort!.on('message', (message: ReplicaBatch | 'close') => {
  if (message === 'close') {
    replica.close()
    parentPort!.close()
    return
  }
  try {
    replica.write(message)
    parentPort!.postMessage({})
  } catch (error) {
    parentPort!.postMessage({ error: messageOf(error) })
  }
})
keepCompiled()
