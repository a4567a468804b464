import { connect } from 'node:net'

/**
 * Holds connections to an address on port 80 until standard input ends. Says HELD.
 *
 * usage: hold.ts ADDRESS COUNT
 */
const [host = '', count = '1'] = process.argv.slice(2)
const sockets = await Promise.all(
  Array.from({ length: Number(count) }, () => {
    const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof connect>>()
    const socket = connect({ host, port: 80 }, () => resolve(socket))
    socket.on('error', reject)
    return promise
  }),
)
console.log('HELD')
process.stdin.resume().on('end', () => {
  for (const socket of sockets) socket.resetAndDestroy()
  setImmediate(() => process.exit(0))
})
