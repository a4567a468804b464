import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { at } from '../host-network/world.ts'

export const PEER = ['python3', `${import.meta.dirname}/peer.py`]

/** peer.py at a place: says lines of JSON, and ends when its input does. */
export class Peer {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface

  constructor(place: string, ...words: (string | number)[]) {
    const [command, ...argv] = at(place, [...PEER, ...words.map(String)])
    this.#child = spawn(command!, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
    peers.add(this.#child)
    this.#child.once('exit', () => peers.delete(this.#child))
    this.#reader = createInterface({ input: this.#child.stdout! })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  /** The next thing that it says. */
  async next<T>(timeoutMs = 120_000): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('peer.py says nothing')), timeoutMs)
    })
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late])
      if (done) throw new Error('peer.py has ended')
      return JSON.parse(value) as T
    } finally {
      clearTimeout(timer)
    }
  }

  again(): void {
    this.#child.stdin!.write('\n')
  }

  /** Ends its input; answers its last word when it has one. */
  async end<T>(hasWord = true): Promise<T> {
    this.#child.stdin!.end()
    return hasWord ? this.next<T>() : (undefined as T)
  }
}

const peers = new Set<ChildProcess>()

export function endPeers(): void {
  for (const child of peers) child.kill('SIGKILL')
}

export interface Held {
  /** Source address, port and segment size that the far end saw. */
  readonly came: readonly (readonly [address: string, port: number, mss: number])[]
  readonly failed: string | null
  readonly tookMs: number
}

export interface Captured {
  /** Packets by `source protocol slot`. */
  readonly seen: Readonly<Record<string, number>>
  readonly bad: readonly string[]
  readonly dropped: number
}

interface Lasting {
  readonly exchanges: number
  readonly problem: string | null
  readonly source: readonly [string, number, number] | null
}

interface Brief {
  readonly sources: Readonly<Record<string, number>>
  readonly failed: number
  readonly datagrams: number
}

/** By destination. */
export interface Talked {
  readonly lasting: Readonly<Record<string, Lasting>>
  readonly brief: Readonly<Record<string, Brief>>
}
