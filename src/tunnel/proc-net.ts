import { readFileSync } from 'node:fs'

/** One TCP socket of a network namespace (proc_net(5), `tcp` and `tcp6`). Mapped IPv4 is IPv4 here. */
export interface TcpSocket {
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly isListening: boolean
  /** Both sides have ended: its port may belong to another connection already. */
  readonly isOver: boolean
}
export interface Endpoint {
  readonly host: string
  readonly port: number
}

const LINE =
  /^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{2}) /
const LISTEN = '0A'
const OVER: ReadonlySet<string | undefined> = new Set(['06', '07']) // TIME_WAIT, CLOSE
const MAPPED = '0000000000000000FFFF0000'

/** The sockets of the namespace that process `pid` is in. */
export function* tcpSockets(pid: number | 'self'): Generator<TcpSocket> {
  for (const file of ['tcp', 'tcp6']) {
    let text = ''
    try {
      text = readFileSync(`/proc/${pid}/net/${file}`, 'latin1')
    } catch {
      // No IPv6 in this kernel, or the process has gone.
    }
    yield* parseSockets(text)
  }
}

export function* parseSockets(text: string): Generator<TcpSocket> {
  for (const line of text.split('\n')) {
    const match = LINE.exec(line)
    if (!match) continue
    const [, local, localPort, remote, remotePort, state] = match as unknown as string[]
    yield {
      local: { host: address(local!), port: Number.parseInt(localPort!, 16) },
      remote: { host: address(remote!), port: Number.parseInt(remotePort!, 16) },
      isListening: state === LISTEN,
      isOver: OVER.has(state),
    }
  }
}

/** Words of 32 bits as the processor has them: little-endian on all that Fairway runs on. */
function address(hex: string): string {
  if (hex.length === 8) return v4(hex)
  if (hex.startsWith(MAPPED)) return v4(hex.slice(24))
  const words = hex.match(/.{8}/g)!.flatMap((word) => {
    const bytes = word.match(/../g)!.reverse().join('')
    return [bytes.slice(0, 4), bytes.slice(4)]
  })
  return canonicalV6(words.join(':'))
}

const v4 = (hex: string): string =>
  hex
    .match(/../g)!
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join('.')

/** RFC 5952, by way of the URL parser. */
export const canonicalV6 = (text: string): string =>
  new URL(`http://[${text}]`).hostname.slice(1, -1)

/** An address as `tcpSockets` writes it. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1]!
  return address.includes(':') ? canonicalV6(address.replace(/%.*$/, '')) : address
}
