import { type FileHandle, mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { LOG_FILE_BYTES_MAX } from './rotating-log.ts'

/** What may wait for the disk; above it, lines are dropped. */
export const ASYNC_LOG_WAITING_BYTES_MAX = 8 * 1024 * 1024

/**
 * Appends to a file (0600) and keeps one predecessor (`<path>.1`), without ever holding up the caller:
 * for a process whose event loop has to go on while a disk does not answer.
 */
export class AsyncLog {
  /** Bytes that were not written: the disk refused them, or was too slow. */
  droppedBytes = 0
  readonly #path: string
  readonly #bytesMax: number
  readonly #waitingMax: number
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #file: { readonly handle: FileHandle; bytes: number } | null = null
  #writing: Promise<void> | null = null

  constructor(
    path: string,
    bytesMax = LOG_FILE_BYTES_MAX,
    waitingBytesMax = ASYNC_LOG_WAITING_BYTES_MAX,
  ) {
    this.#path = path
    this.#bytesMax = bytesMax
    this.#waitingMax = waitingBytesMax
  }

  /** `text`: whole lines. */
  write(text: string): void {
    const bytes = Buffer.from(text)
    if (this.#waitingBytes + bytes.length > this.#waitingMax) {
      this.droppedBytes += bytes.length
      return
    }
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null
    })
  }

  /** Resolves when all that was given is written or given up, and the file is closed. */
  async close(): Promise<void> {
    await this.#writing
    await this.#file?.handle.close().catch(() => {})
    this.#file = null
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = Buffer.concat(this.#waiting)
      this.#waiting = []
      try {
        await this.#append(batch)
      } catch {
        this.droppedBytes += batch.length
        // A file that was taken away, or a disk that is back: the next batch opens it anew.
        await this.#file?.handle.close().catch(() => {})
        this.#file = null
      }
      this.#waitingBytes -= batch.length
    }
  }

  async #append(batch: Buffer): Promise<void> {
    let file = this.#file ?? (await this.#open())
    if (file.bytes > 0 && file.bytes + batch.length > this.#bytesMax) {
      await file.handle.close()
      this.#file = null
      await rename(this.#path, `${this.#path}.1`)
      file = await this.#open()
    }
    await file.handle.appendFile(batch)
    file.bytes += batch.length
  }

  async #open(): Promise<{ readonly handle: FileHandle; bytes: number }> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
    const handle = await open(this.#path, 'a', 0o600)
    this.#file = { handle, bytes: (await handle.stat()).size }
    return this.#file
  }
}
