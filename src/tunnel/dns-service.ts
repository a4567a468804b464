import { createSocket, type Socket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { isIP, isIPv6 } from 'node:net'
import { judge } from './fake-dns.ts'

const FORWARDS_MAX = 256
const FORWARD_MS = 5_000
const DNS_PORT = 53

/** Answers queries that come to `socket`; forwards to the machine's resolvers what is not ours. */
export function serveDns(
  socket: Socket,
  addressOf: (name: string) => string | null,
  resolvers: readonly string[] = systemResolvers(),
): void {
  let forwards = 0
  socket.on('error', () => {})
  socket.on('message', (query, client) => {
    const verdict = judge(query, addressOf)
    if (verdict.t === 'answer') socket.send(verdict.bytes, client.port, client.address)
    if (verdict.t !== 'forward' || forwards >= FORWARDS_MAX) return
    forwards += 1
    forward(query, resolvers, (reply) => {
      forwards -= 1
      // Without one the client asks again, or the next resolver of its list.
      if (reply) socket.send(reply, client.port, client.address, () => {})
    })
  })
}

/** Asks each resolver in turn; each question has a socket, and so a port, of its own (RFC 5452 9.2). */
function forward(
  query: Buffer,
  [resolver, ...others]: readonly string[],
  done: (reply: Buffer | null) => void,
): void {
  if (resolver === undefined) {
    done(null)
    return
  }
  const socket = createSocket(isIPv6(resolver) ? 'udp6' : 'udp4')
  const finish = (reply: Buffer | null) => {
    clearTimeout(timer)
    socket.removeAllListeners('message')
    socket.close()
    if (reply) done(reply)
    else forward(query, others, done)
  }
  const timer = setTimeout(() => finish(null), FORWARD_MS)
  socket.on('error', () => {})
  socket.on('message', (reply) => {
    if (reply.length >= 2 && reply.readUInt16BE(0) === query.readUInt16BE(0)) finish(reply)
  })
  // Connected: the kernel drops what others send.
  socket.connect(DNS_PORT, resolver, () => socket.send(query, () => {}))
}

function systemResolvers(): string[] {
  let text = ''
  try {
    text = readFileSync('/etc/resolv.conf', 'utf8')
  } catch {
    // Nothing to forward to.
  }
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)]
    .map(([, address]) => address!)
    .filter((address) => isIP(address.replace(/%.*$/, '')) !== 0)
    .slice(0, 3)
}
