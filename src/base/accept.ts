import net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { breakOff } from './ends.ts'
import { FairwayError } from './errors.ts'
import { type ReadMemory, SocketReader } from './socket-reader.ts'

interface ListeningHandle {
  onconnection: (status: number, accepted?: unknown) => void
}

/**
 * A server whose sockets read into `memory`. Node has `onread` for sockets that it connects, not for
 * those that it accepts: of these each read makes a buffer of 64 KB, a tenth of what a small request
 * costs. So the accepted handle goes to a socket that is made with the option. Half-open is allowed, and
 * nothing is delayed. Errors of `accept` (no descriptors left) are the server's `error`.
 */
export function createReadingServer(
  memory: ReadMemory,
  onSocket: (socket: net.Socket, reader: SocketReader) => void,
): net.Server {
  const server = net.createServer()
  server.prependListener('listening', () => {
    const handle = (server as unknown as { _handle: ListeningHandle | null })._handle
    if (typeof handle?.onconnection !== 'function')
      throw new FairwayError('node_changed', `Node ${process.version} accepts in another way`)
    handle.onconnection = (status, accepted) => {
      if (status !== 0) {
        server.emit('error', new Error(`accept: ${getSystemErrorName(status)}`))
        return
      }
      const reader = new SocketReader(memory)
      const { onread } = reader
      const options = { handle: accepted, onread, allowHalfOpen: true }
      const socket = new net.Socket(options as net.SocketConstructorOpts)
      reader.socket = socket
      socket.setNoDelay(true)
      try {
        onSocket(socket, reader)
      } catch (error) {
        memory.onFault(error)
        socket.on('error', () => {})
        breakOff(socket)
      }
    }
  })
  return server
}
