import { appendFile, mkdir, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { rotatedPath } from './tail.ts'

/** What may wait to be written; lines beyond are dropped, and a line says how many. */
const PENDING_BYTES_MAX = 1024 * 1024

/**
 * A file of text lines that never grows past two times `bytesMax`: at that size it becomes `path.1`
 * and starts anew. Appending never waits and never fails; a full disk loses lines, not the caller.
 */
export class BoundedLog {
  readonly #path: string
  readonly #bytesMax: number
  readonly #droppedLine: (count: number) => string
  #pending: string[] = []
  #pendingBytes = 0
  #dropped = 0
  #size = -1
  #writing: Promise<void> | undefined

  constructor(path: string, bytesMax: number, droppedLine: (count: number) => string) {
    this.#path = path
    this.#bytesMax = bytesMax
    this.#droppedLine = droppedLine
  }

  append(line: string): void {
    if (this.#pendingBytes + line.length > PENDING_BYTES_MAX) {
      this.#dropped += 1
      return
    }
    this.#pending.push(line)
    this.#pendingBytes += line.length
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
  }

  /** Resolves when everything appended so far is in the file. */
  async flush(): Promise<void> {
    await this.#writing
  }

  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      const lines = this.#pending
      if (this.#dropped > 0) lines.push(this.#droppedLine(this.#dropped))
      this.#pending = []
      this.#pendingBytes = 0
      this.#dropped = 0
      await this.#writeOut(`${lines.join('\n')}\n`).catch(() => {})
    }
  }

  async #writeOut(text: string): Promise<void> {
    if (this.#size < 0) {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      this.#size = await stat(this.#path).then(
        ({ size }) => size,
        () => 0,
      )
    }
    if (this.#size >= this.#bytesMax) {
      await rename(this.#path, rotatedPath(this.#path))
      this.#size = 0
    }
    await appendFile(this.#path, text, { mode: 0o600 })
    this.#size += Buffer.byteLength(text)
  }
}
