import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

/**
 * A destination outside the platform: answers every TCP connection and datagram with the address
 * and port that it came from, as `<address> <port>\n`. TCP connections stay open until the caller
 * ends them; what the caller sends comes back. `tick` counts of accepted connections go to nobody:
 * what arrives is counted by the kernel (far-end.ts).
 *
 * usage: far-end-server.ts PORT
 */
const port = Number(process.argv[2])
const plain = (address: string | undefined) => (address ?? '').replace(/^::ffff:/, '')

const tcp = createServer({ allowHalfOpen: false }, (socket) => {
  socket.on('error', () => {})
  socket.write(`${plain(socket.remoteAddress)} ${socket.remotePort}\n`)
  socket.on('data', (chunk) => socket.write(chunk))
})
const udp = createSocket({ type: 'udp6', ipv6Only: false })
udp.on('message', (_, { address, port: from }) => {
  udp.send(`${plain(address)} ${from}\n`, from, address)
})
tcp.listen({ port, host: '::', backlog: 4096 }, () =>
  udp.bind(port, '::', () => process.stdout.write('ready\n')),
)
process.stdin.resume().on('end', () => process.exit(0))
