/**
 * Newline-delimited JSON over byte streams: one value a line, `\n` after each, UTF-8.
 */

/** Thrown by `LineSplitter` when a line grows beyond its limit; the stream cannot be followed on. */
export class LineTooLongError extends Error {
  readonly code = 'line_too_long'
  constructor(bytesMax: number) {
    super(`a line of the stream is longer than ${bytesMax} bytes; the peer speaks something else`)
    this.name = 'LineTooLongError'
  }
}

/** Cuts a stream of chunks into lines; keeps at most one unfinished line of `bytesMax` bytes. */
export class LineSplitter {
  readonly #bytesMax: number
  #parts: Buffer[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** The lines that `chunk` completes, without their newlines. Empty lines are left out. */
  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let from = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const line = this.#take(chunk.subarray(from, at))
      if (line) lines.push(line)
      from = at + 1
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from))
    return lines
  }

  #take(end: Buffer): string {
    if (this.#parts.length === 0) return end.toString('utf8')
    this.#keep(end)
    const line = Buffer.concat(this.#parts, this.#bytes).toString('utf8')
    this.#parts = []
    this.#bytes = 0
    return line
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes > this.#bytesMax) throw new LineTooLongError(this.#bytesMax)
    this.#parts.push(part)
  }
}

export const encodeLine = (value: unknown): string => `${JSON.stringify(value)}\n`
