import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type Destination, destinationText } from './destinations.ts'
import type { Dialer } from './dialer.ts'
import { textOf } from './failure.ts'
import type { Reporter } from './reporter.ts'

/** Carries accepted connections to their destinations. */
export interface Carrier {
  /** Takes over `local`, which is paused and whose peer may close one half alone. */
  carry(local: Socket, to: Destination): void
  /** Resets what is still carried. */
  close(): void
}

/** Each costs two descriptors. */
export const CONNECTIONS_MAX = 8_192
const KEEP_ALIVE_MS = 60_000

export function createCarrier(dialer: Dialer, reporter: Reporter): Carrier {
  const open = new Set<Socket>()
  async function carry(local: Socket, to: Destination): Promise<void> {
    local.on('error', () => {})
    if (open.size >= CONNECTIONS_MAX) {
      reporter.warn(
        `${destinationText(to)}: reset, ${CONNECTIONS_MAX} connections are open already`,
      )
      reset(local)
      return
    }
    open.add(local)
    local.once('close', () => open.delete(local))
    local.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
    try {
      const remote = await dialer.dial(to)
      reporter.detail(`${destinationText(to)}: connected`)
      join(local, remote)
    } catch (error) {
      reporter.warn(textOf(error))
      reset(local)
    }
  }
  return {
    carry: (local, to) => void carry(local, to),
    close() {
      for (const socket of open) reset(socket)
    },
  }
}

/**
 * Bytes both ways under back-pressure; the end of one half is passed on alone (RFC 9293 3.6), and
 * an end without FIN as a reset.
 */
export function join(a: Socket, b: Socket): void {
  a.pipe(b)
  b.pipe(a)
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    one.on('error', () => reset(other))
    one.on('close', () => {
      // Both halves ended in order: what is still on its way to the other side may arrive.
      if (!one.readableEnded || !other.readableEnded) reset(other)
    })
    if (one.destroyed) reset(other)
  }
}

/** Ends a connection so that its peer sees an error, not the end of the data. */
export function reset(socket: Socket): void {
  if (socket.destroyed) return
  // Only plain TCP has a reset; TLS and unix sockets just close. So does one whose end is just being
  // sent: libuv cannot reset it then, and Node would lose it without a `close`.
  const { writableEnded, writableFinished, writableLength } = socket
  const endIsBeingSent = writableEnded && !writableFinished && writableLength === 0
  const hasReset = !(socket instanceof TLSSocket) && socket.remoteFamily !== undefined
  if (!hasReset || endIsBeingSent) socket.destroy()
  else socket.resetAndDestroy()
}
