import { closeSync, mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

export const LOG_FILE_BYTES_MAX = 8 * 1024 * 1024

/**
 * Appends to a file (0600) and keeps one predecessor (`<path>.1`), so that a log never takes more
 * than twice `bytesMax`. A disk that refuses a write costs the line, never the caller.
 */
export class RotatingLog {
  readonly #path: string
  readonly #bytesMax: number
  #fd: number
  #bytes: number

  constructor(path: string, bytesMax = LOG_FILE_BYTES_MAX) {
    this.#path = path
    this.#bytesMax = bytesMax
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    this.#fd = openSync(path, 'a', 0o600)
    this.#bytes = statSync(path).size
  }

  write(chunk: string | Uint8Array): void {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    try {
      if (this.#bytes + bytes.length > this.#bytesMax) this.#rotate()
      writeSync(this.#fd, bytes)
      this.#bytes += bytes.length
    } catch {
      // Nobody is left to tell.
    }
  }

  close(): void {
    closeSync(this.#fd)
  }

  #rotate(): void {
    closeSync(this.#fd)
    renameSync(this.#path, `${this.#path}.1`)
    this.#fd = openSync(this.#path, 'a', 0o600)
    this.#bytes = 0
  }
}
