import type { Socket } from 'node:net'
import type { Timed } from '../base/deadlines.ts'
import { breakOff, endSide } from '../base/ends.ts'
import { writeRead } from '../base/socket-reader.ts'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import type { OutboundContext } from './context.ts'
import type { OutboundUser } from './directory.ts'
import { HALF_CLOSED_IDLE_MS, KEEPALIVE_PROBE_MS, TUNNEL_IDLE_MS } from './limits.ts'
import type { Transfer } from './request-log.ts'
import type { Upstream, UpstreamUser } from './upstream.ts'

/**
 * Octets both ways, at the reader's pace, and an end as an end. Whoever owns the client's socket
 * passes its events on.
 */
export class Tunnel implements Timed, UpstreamUser {
  deadline: number
  readonly #ctx: OutboundContext
  readonly #client: Socket
  readonly #upstream: Upstream
  readonly #user: OutboundUser
  readonly #transfer: Transfer
  #touchedAt: number
  #probed = false
  #throttled = false
  #clientEnded = false
  #upstreamEnded = false
  /** One side is gone; the other may still take what was written to it. */
  #closed = false
  #clientGone = false
  #upstreamGone = false
  /** What the upstream's end would have given back: given back when both sides are gone. */
  readonly #release: (() => void) | null

  constructor(
    ctx: OutboundContext,
    client: Socket,
    upstream: Upstream,
    user: OutboundUser,
    transfer: Transfer,
  ) {
    this.#ctx = ctx
    this.#client = client
    this.#upstream = upstream
    this.#user = user
    this.#transfer = transfer
    this.#touchedAt = ctx.deadlines.now
    this.deadline = this.#touchedAt + KEEPALIVE_PROBE_MS
    this.#release = upstream.release
    upstream.release = () => {
      this.#upstreamGone = true
      this.#checkGone()
    }
    upstream.user = this
    ctx.deadlines.add(this)
  }

  onClientData(data: Buffer, stream: StreamBuffer | null): void {
    if (this.#closed) return
    this.#transfer.bytesUp += data.length
    this.#touchedAt = this.#ctx.deadlines.now
    if (!writeRead(this.#upstream.socket, data, stream)) this.#client.pause()
    this.#count(data.length)
  }

  onClientEnd(): void {
    if (this.#closed) return
    this.#clientEnded = true
    this.#touchedAt = this.#ctx.deadlines.now
    this.#checkSoon()
    endSide(this.#upstream.socket, this.#upstreamEnded)
  }

  onClientDrain(): void {
    if (!this.#throttled) this.#upstream.socket.resume()
  }

  onClientClose(failed: boolean): void {
    this.#clientGone = true
    this.#close()
    this.#checkGone()
    // What broke off must not look like a regular end.
    if (failed || !this.#clientEnded) breakOff(this.#upstream.socket)
    else this.#upstream.socket.destroySoon()
  }

  onUpstreamData(data: Buffer, stream: StreamBuffer | null): void {
    this.#transfer.bytesDown += data.length
    this.#touchedAt = this.#ctx.deadlines.now
    if (!writeRead(this.#client, data, stream)) this.#upstream.socket.pause()
    this.#count(data.length)
  }

  onUpstreamEnd(): void {
    this.#upstreamEnded = true
    this.#touchedAt = this.#ctx.deadlines.now
    this.#checkSoon()
    endSide(this.#client, this.#clientEnded)
  }

  onUpstreamDrain(): void {
    if (!this.#throttled) this.#client.resume()
  }

  onUpstreamClose(error: NodeJS.ErrnoException | null): void {
    this.#close()
    if (error || !this.#upstreamEnded) breakOff(this.#client)
    else this.#client.destroySoon()
  }

  /** Now and then: resumes what was throttled, has a silent peer probed, and ends what is idle. */
  onDeadline(): void {
    if (this.#closed) {
      this.#breakOff()
      return
    }
    const { now } = this.#ctx.deadlines
    if (this.#throttled) {
      if (!this.#ctx.meter.hasBytes(this.#user)) return
      this.#throttled = false
      this.#client.resume()
      this.#upstream.socket.resume()
    }
    if (!this.#probed) {
      this.#probed = true
      this.#client.setKeepAlive(true, KEEPALIVE_PROBE_MS)
      this.#upstream.socket.setKeepAlive(true, KEEPALIVE_PROBE_MS)
    }
    const idleMs = this.#clientEnded || this.#upstreamEnded ? HALF_CLOSED_IDLE_MS : TUNNEL_IDLE_MS
    this.deadline = this.#touchedAt + idleMs
    if (this.deadline > now) return
    this.#close()
    this.#breakOff()
  }

  /** Above its bytes per second: both ends wait for the next look at the clock. */
  #count(n: number): void {
    if (this.#throttled || this.#ctx.meter.bytes(this.#user, n)) return
    this.#throttled = true
    this.deadline = this.#ctx.deadlines.now
    this.#client.pause()
    this.#upstream.socket.pause()
  }

  #checkSoon(): void {
    this.deadline = Math.min(this.deadline, this.#touchedAt + KEEPALIVE_PROBE_MS)
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.deadline = this.#ctx.deadlines.now + HALF_CLOSED_IDLE_MS
    this.#upstream.user = null
    this.#transfer.finish('ok')
  }

  #breakOff(): void {
    breakOff(this.#client)
    breakOff(this.#upstream.socket)
  }

  /** Until then it counts, and its deadline holds: a peer that never reads would stay for ever. */
  #checkGone(): void {
    if (!this.#clientGone || !this.#upstreamGone) return
    this.#ctx.deadlines.delete(this)
    this.#release?.()
  }
}
