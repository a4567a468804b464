import { randomFillSync } from 'node:crypto'
import { withoutFields } from '../../base/http1/fields.ts'

/** W3C Trace Context, level 1: the trace that a request belongs to, and who its parent is. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits: the span of whoever sent it; '' at the root of a trace. */
  readonly parentId: string
  readonly flags: number
}

const SAMPLED = 1
const HEADER = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
/** A later version may say more; what is longer than this is not read. */
const HEADER_LENGTH_MAX = 256

/** What `traceparent` says; null when it says nothing valid: the trace then begins anew (3.2.2). */
export function parseTraceparent(text: string): TraceContext | null {
  if (text.length > HEADER_LENGTH_MAX) return null
  const m = HEADER.exec(text)
  if (!m || m[1] === 'ff' || (m[1] === '00' && m[5] !== undefined)) return null
  const [traceId, parentId] = [m[2]!, m[3]!]
  if (isZero(traceId) || isZero(parentId)) return null
  return { traceId, parentId, flags: Number.parseInt(m[4]!, 16) }
}

const isZero = (id: string): boolean => /^0+$/.test(id)

export const isSampled = ({ flags }: TraceContext): boolean => (flags & SAMPLED) !== 0

/** What goes on to the app: the span that is made here is the parent of what the app does. */
export const traceparentOf = (traceId: string, spanId: string): string =>
  `00-${traceId}-${spanId}-01`

/**
 * A request's head (request line and field lines) with `traceparent` for this span. The `tracestate`
 * that came stays when the trace goes on; in a new trace it would say what is not so.
 */
export function withTraceparent(
  head: string,
  traceId: string,
  spanId: string,
  goesOn: boolean,
): string {
  const fieldsAt = head.indexOf('\r\n') + 2
  const kept = withoutFields(head.slice(fieldsAt), goesOn ? PARENT : PARENT_AND_STATE)
  return `${head.slice(0, fieldsAt)}${kept}traceparent: ${traceparentOf(traceId, spanId)}\r\n`
}
const PARENT = new Set(['traceparent'])
const PARENT_AND_STATE = new Set(['traceparent', 'tracestate'])

/** Ids that are drawn in stock: a draw costs a system call. */
export class TraceIds {
  readonly #stock = Buffer.alloc(4096)
  #at = this.#stock.length

  trace(): string {
    return this.#hex(16)
  }

  span(): string {
    return this.#hex(8)
  }

  #hex(bytes: number): string {
    for (;;) {
      if (this.#at + bytes > this.#stock.length) {
        randomFillSync(this.#stock)
        this.#at = 0
      }
      const id = this.#stock.toString('hex', this.#at, this.#at + bytes)
      this.#at += bytes
      if (!isZero(id)) return id
    }
  }
}
