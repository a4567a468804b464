import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { type SocketSource, SourceSockets } from './source-socket.ts'

const PORTS = 8
// Within the range that a kernel has unless told otherwise; 127.0.0.5 is nobody else's.
const FOUR: SocketSource = { address: '127.0.0.5', ...freePorts(45_000) }
const SIX: SocketSource = { address: '::1', ...freePorts(46_000) }

test('the ports of a source are limited for each destination, not in total', async (t) => {
  const sockets = new SourceSockets()
  const servers = await Promise.all([listen(t), listen(t)])
  const opened: net.Socket[] = []
  t.after(() => {
    for (const socket of opened) socket.destroy()
  })
  for (const source of [FOUR, SIX])
    for (const port of servers) {
      const ports = new Set<number>()
      for (let i = 0; i < PORTS; i++) {
        const socket = await connect(sockets, source, port)
        opened.push(socket)
        assert.equal(socket.localAddress, source.address)
        ports.add(socket.localPort!)
      }
      assert.deepEqual([...ports].sort(), range(source))
      await assert.rejects(connect(sockets, source, port), { code: 'EADDRNOTAVAIL' })
    }
})

test('an address that is not here is an error with a code', () => {
  const sockets = new SourceSockets()
  const source = { address: '198.51.100.77', portMin: 45_000, portMax: 45_007 }
  assert.throws(() => sockets.open(source), { code: 'EADDRNOTAVAIL', syscall: 'bind' })
  assert.throws(() => sockets.open({ ...source, address: 'x' }), /not an address/)
})

/** Ports that no socket of this machine has; a listener's last connections keep its port for a minute. */
function freePorts(from: number): { portMin: number; portMax: number } {
  const used = new Set(['tcp', 'tcp6'].flatMap((family) => localPorts(`/proc/net/${family}`)))
  let portMin = from
  while (range({ portMin, portMax: portMin + PORTS - 1 }).some((port) => used.has(port)))
    portMin += PORTS
  return { portMin, portMax: portMin + PORTS - 1 }
}

function localPorts(file: string): number[] {
  return [...readFileSync(file, 'utf8').matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)].map(
    ([, hex]) => Number.parseInt(hex!, 16),
  )
}

function range({ portMin, portMax }: Omit<SocketSource, 'address'>): number[] {
  return Array.from({ length: portMax - portMin + 1 }, (_, i) => portMin + i)
}

async function connect(sockets: SourceSockets, source: SocketSource, port: number) {
  const socket = new net.Socket({ fd: sockets.open(source) })
  const host = source.address.includes(':') ? '::1' : '127.0.0.1'
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.connect({ host, port }, resolve)
  })
  return socket
}

async function listen(t: { after(fn: () => void): void }): Promise<number> {
  const accepted: net.Socket[] = []
  const server = net.createServer((socket) => {
    accepted.push(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '::', resolve))
  t.after(() => {
    for (const socket of accepted) socket.destroy()
    server.close()
  })
  return (server.address() as net.AddressInfo).port
}
