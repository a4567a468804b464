import { CHAR_CLASS, CR, LF, TOKEN } from './chars.ts'
import { FAULTS, type HeadFault } from './head-faults.ts'
import { ADDED_BYTES_MAX, HEAD_BYTES_MAX } from './limits.ts'

/** An empty line before a head, and of the CRLF CRLF after it all but the last octet. */
const AROUND_BYTES_MAX = 5

/**
 * A request head that comes in parts. Only the seam to the last part is searched, so that a client
 * who sends one octet at a time pays for it himself.
 */
export class HeadBuffer {
  #text = ''
  #tail = ''

  get empty(): boolean {
    return this.#text === ''
  }

  clear(): void {
    this.#text = ''
    this.#tail = ''
  }

  /** Adds a part; the index in `text` of the CRLF CRLF that ends the head, or -1. */
  add(part: string): number {
    const seam = this.#tail + part
    const at = seam.indexOf('\r\n\r\n')
    const before = this.#text.length - this.#tail.length
    this.#text += part
    this.#tail = seam.slice(-3)
    return at < 0 ? -1 : before + at
  }

  /** There is more than the empty line that may come before a request (RFC 9112 2.2). */
  get begun(): boolean {
    return this.#text.length > 2 || (this.#text !== '' && this.#text.charCodeAt(0) !== CR)
  }

  get text(): string {
    return this.#text
  }

  /**
   * What is wrong already, so that nobody waits for the end of what can never be a head.
   * `trusted`: another edge has added to it.
   */
  fault(part: string, trusted = false): HeadFault | null {
    const bytesMax = trusted ? HEAD_BYTES_MAX + ADDED_BYTES_MAX : HEAD_BYTES_MAX
    if (this.#text.length > bytesMax + AROUND_BYTES_MAX) return FAULTS.headBytes
    const first = this.#text.charCodeAt(0)
    if (first !== CR && (CHAR_CLASS[first]! & TOKEN) === 0) return FAULTS.line
    for (let i = part.indexOf('\n'); i >= 0; i = part.indexOf('\n', i + 1)) {
      const at = this.#text.length - part.length + i
      if (this.#text.charCodeAt(at - 1) !== CR || at === 0) return FAULTS.line
    }
    return first === LF ? FAULTS.line : null
  }
}
