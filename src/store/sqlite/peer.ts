import { MessageChannel, Worker } from 'node:worker_threads'
import type { EngineOptions, FromEngine, Opened, ToEngine } from './protocol.ts'
import { serve } from './serve.ts'

/** The engine as its caller sees it: in a thread of its own, or in this one. */
export interface Peer {
  post(message: ToEngine): void
  /** Ends it without asking. */
  terminate(): Promise<unknown>
}

export interface PeerEvents {
  readonly onMessage: (message: Opened | FromEngine) => void
  readonly onError: (error: unknown) => void
  readonly onEnd: () => void
}

export function startThread(options: EngineOptions, events: PeerEvents): Peer {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: options,
    // Not the process's own: some (--input-type, --test) would keep the worker from starting.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    name: 'store',
  })
  worker.on('message', events.onMessage).on('error', events.onError).on('exit', events.onEnd)
  return {
    post: (message) => worker.postMessage(message),
    terminate: () => worker.terminate(),
  }
}

export function startHere(options: EngineOptions, events: PeerEvents): Peer {
  const { port1, port2 } = new MessageChannel()
  port1.on('message', events.onMessage)
  port1.on('close', events.onEnd)
  serve(port2, options)
  return {
    post: (message) => port1.postMessage(message),
    terminate: async () => port1.close(),
  }
}
