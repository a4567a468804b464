import { createServer } from 'node:net'
import { openTransparentListeners } from '../../src/kernel/listener.ts'

/** Tells everyone who connects how the connection looks from here. `transparent` or ports. */
const [kind, ...ports] = process.argv.slice(2)
const server = () =>
  createServer((socket) => {
    socket.on('error', () => {})
    const { localAddress, localPort, remoteAddress } = socket
    socket.end(`local=[${localAddress}]:${localPort} remote=${remoteAddress}\n`)
  })

if (kind === 'transparent') {
  const fds = openTransparentListeners(Number(ports[0]), 2)
  let open = 0
  for (const fd of fds) server().listen({ fd }, () => ++open === fds.length && console.log('ready'))
} else {
  let open = 0
  for (const port of ports)
    server().listen({ host: '::', port: Number(port) }, () => {
      if (++open === ports.length) console.log('ready')
    })
}
