import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { at } from '../host-network/world.ts'

const children = new Set<ChildProcess>()
const ANSWER_MS_MAX = 120_000

/** A program of this folder at a place, which answers lines with lines. */
export class Flows {
  readonly #child: ChildProcess
  readonly #waiting: ((line: string) => void)[] = []

  private constructor(place: string, script: string, words: readonly string[]) {
    const argv = at(place, ['python3', `${import.meta.dirname}/${script}`, ...words])
    this.#child = spawn(argv[0]!, argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
    children.add(this.#child)
    createInterface({ input: this.#child.stdout! }).on('line', (line) =>
      this.#waiting.shift()?.(line),
    )
  }

  static async far(place: string, port: number): Promise<Flows> {
    const far = new Flows(place, 'far.py', [String(port)])
    await far.#next()
    return far
  }

  static async near(place: string): Promise<Flows> {
    const near = new Flows(place, 'near.py', [])
    await near.#next()
    return near
  }

  async ask<T>(op: string, address: string, ...words: unknown[]): Promise<T> {
    const answer = this.#next()
    this.#child.stdin!.write(`${JSON.stringify([op, address, ...words])}\n`)
    const { ok, error } = JSON.parse(await answer) as { ok: T; error?: string }
    if (error !== undefined) throw new Error(`${op} ${address}: ${error}`)
    return ok
  }

  #next(): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer of a flow')), ANSWER_MS_MAX)
      this.#waiting.push((line) => {
        clearTimeout(timer)
        resolve(line)
      })
    })
  }
}

export function endFlows(): void {
  for (const child of children) child.kill('SIGKILL')
}

export interface Kept {
  readonly exchanges: number
  readonly problem: string | null
  readonly longestMs: number
}
