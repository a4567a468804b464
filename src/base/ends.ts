import type { Socket } from 'node:net'

/**
 * Ends what goes to a side. When that side has ended too and has taken everything, closing says it as
 * well and saves a system call and a turn; over TLS the end is a message of its own.
 */
export function endSide(socket: Socket, hasEnded: boolean): void {
  if (hasEnded && socket.writableLength === 0 && !isTls(socket)) socket.destroy()
  else socket.end()
}

/**
 * Ends a connection so that half of something never looks whole: by a reset. Over TLS the end of the
 * connection without a `close_notify` says the same (RFC 8446, 6.1). One whose end is just being sent has
 * nothing left that could be half: libuv cannot reset it then, and Node would lose it without a `close`.
 */
export function breakOff(socket: Socket): void {
  const { writableEnded, writableFinished, writableLength } = socket
  const endIsBeingSent = writableEnded && !writableFinished && writableLength === 0
  if (isTls(socket) || endIsBeingSent) socket.destroy()
  else socket.resetAndDestroy()
}

/**
 * How much the kernel has taken of what was written. It grows while the peer reads, however slowly, as
 * long as something waits here.
 */
export function bytesTaken(socket: Socket): number {
  const handle = (socket as unknown as { _handle: StreamHandle | null })._handle
  return handle ? handle.bytesWritten - handle.writeQueueSize : 0
}

/** What Node's own time-out of a socket looks at. */
interface StreamHandle {
  readonly bytesWritten: number
  readonly writeQueueSize: number
}

const isTls = (socket: Socket): boolean => (socket as { encrypted?: boolean }).encrypted === true
