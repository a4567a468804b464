import { connect, type Socket } from 'node:net'
import { destinationText } from './destinations.ts'
import { DIAL_LIMITS, type Dialer } from './dialer.ts'
import { TunnelError, textOf } from './failure.ts'

/** Connections that nobody asked to carry go out as they would without the tunnel. */
export const directDialer: Dialer = {
  dial: (to) =>
    new Promise<Socket>((resolve, reject) => {
      const socket = connect({ ...to, allowHalfOpen: true, noDelay: true })
      socket.on('error', () => {})
      const fail = (why: string) => {
        socket.destroy()
        reject(new TunnelError(`${destinationText(to)}: ${why} (not through the proxy)`))
      }
      const timer = setTimeout(
        () => fail(`no connection in ${DIAL_LIMITS.answerMs / 1000} s`),
        DIAL_LIMITS.answerMs,
      )
      socket.once('error', (error) => {
        clearTimeout(timer)
        fail(textOf(error))
      })
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(socket.pause())
      })
    }),
}
