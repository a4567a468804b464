import { setTimeout as pause } from 'node:timers/promises'

/**
 * What a process of ours holds once it has collected its garbage. Started in the process's network
 * namespace, after SIGUSR1 has opened the process's inspector; prints `Live` as a line of JSON, and
 * closes the inspector again.
 */
export interface Live {
  /** Of the main thread and all its workers: objects, and octets outside of the heap that they keep. */
  readonly liveKb: number
  readonly threads: number
}

const INSPECTOR = 'http://127.0.0.1:9229/json/list'
const OPEN_TRIES = 50
const TRY_EVERY_MS = 100
const ANSWER_TIMEOUT_MS = 20_000

interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: { readonly sessionId?: string; readonly message?: string }
  readonly result?: unknown
  readonly error?: unknown
}

interface HeapUsage {
  readonly usedSize: number
  readonly embedderHeapUsedSize?: number
  readonly backingStorageSize?: number
}

/** One thread's questions and answers, by DevTools's protocol. */
class Session {
  readonly #send: (text: string) => void
  readonly #waiting = new Map<number, (message: Message) => void>()
  #last = 0
  onEvent: (message: Message) => void = () => {}

  constructor(send: (text: string) => void) {
    this.#send = send
  }

  async ask<T>(method: string, params: object = {}): Promise<T> {
    const id = ++this.#last
    const answer = new Promise<Message>((resolve) => this.#waiting.set(id, resolve))
    this.#send(JSON.stringify({ id, method, params }))
    const timedOut = pause(ANSWER_TIMEOUT_MS, undefined, { ref: false }).then(() => {
      throw new Error(`${method} was not answered`)
    })
    const { result, error } = await Promise.race([answer, timedOut])
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`)
    return result as T
  }

  take(message: Message): void {
    if (message.id === undefined) this.onEvent(message)
    else this.#waiting.get(message.id)?.(message)
  }

  async liveBytes(): Promise<number> {
    // Twice: finalizers of the first let go of what the second takes.
    for (let i = 0; i < 2; i++) await this.ask('HeapProfiler.collectGarbage')
    const usage = await this.ask<HeapUsage>('Runtime.getHeapUsage')
    return usage.usedSize + (usage.embedderHeapUsedSize ?? 0) + (usage.backingStorageSize ?? 0)
  }
}

async function inspectorUrl(): Promise<string> {
  for (let left = OPEN_TRIES; ; left--) {
    try {
      const response = await fetch(INSPECTOR)
      const [target] = (await response.json()) as { webSocketDebuggerUrl: string }[]
      return target!.webSocketDebuggerUrl
    } catch (error) {
      if (left === 0) throw error
      await pause(TRY_EVERY_MS)
    }
  }
}

async function collect(): Promise<Live> {
  const socket = new WebSocket(await inspectorUrl())
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = () => reject(new Error('the inspector refused'))
  })
  const main = new Session((text) => socket.send(text))
  const workers = new Map<string, Session>()
  main.onEvent = ({ method, params }) => {
    const { sessionId = '', message = '' } = params ?? {}
    if (method === 'NodeWorker.receivedMessageFromWorker')
      workers.get(sessionId)?.take(JSON.parse(message) as Message)
    if (method === 'NodeWorker.attachedToWorker')
      workers.set(
        sessionId,
        new Session((text) => {
          void main.ask('NodeWorker.sendMessageToWorker', { sessionId, message: text })
        }),
      )
  }
  socket.onmessage = ({ data }) => main.take(JSON.parse(String(data)) as Message)
  await main.ask('NodeWorker.enable', { waitForDebuggerOnStart: false })
  let bytes = await main.liveBytes()
  for (const worker of workers.values()) bytes += await worker.liveBytes()
  const expression = `setTimeout(() => process.getBuiltinModule('node:inspector').close())`
  await main.ask('Runtime.evaluate', { expression })
  return { liveKb: Math.round(bytes / 1024), threads: 1 + workers.size }
}

if (import.meta.main) console.log(JSON.stringify(await collect()))
