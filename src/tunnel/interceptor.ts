import type { AddressInfo, Server, Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type Carrier, reset } from './carrier.ts'
import { type Destination, destinationText } from './destinations.ts'
import { FakeNames, isFake, PROBE_NAME } from './fake-names.ts'
import { type Endpoint, plainAddress, type TcpSocket, tcpSockets } from './proc-net.ts'
import type { Reporter } from './reporter.ts'
import type { Settings } from './settings.ts'

/**
 * Takes connections that the kernel redirected to us, finds out where they were going, and sends
 * them there: through the proxy, or directly where that was not asked for.
 */
export class Interceptor {
  readonly #settings: Settings
  readonly #proxied: Carrier
  readonly #direct: Carrier
  readonly #reporter: Reporter
  readonly #names = new FakeNames()
  readonly #listed: ReadonlySet<string>
  readonly #listedNames: ReadonlySet<string>
  readonly #servers: Server[] = []
  #waiting: Socket[] = []

  constructor(settings: Settings, proxied: Carrier, direct: Carrier, reporter: Reporter) {
    this.#settings = settings
    this.#proxied = proxied
    this.#direct = direct
    this.#reporter = reporter
    this.#listed = new Set(settings.destinations.map(destinationText))
    this.#listedNames = new Set(settings.destinations.map(({ host }) => host))
  }

  /** The address that a name has for the command, null when its resolver shall say. */
  readonly addressOf = (name: string): string | null => {
    // A name without a dot is of this machine or its network, unless it is listed.
    const isFar = this.#settings.everything && name.includes('.')
    return isFar || this.#listedNames.has(name) || name === PROBE_NAME
      ? this.#names.addressOf(name)
      : null
  }

  /** Serves a listener; `pid` is a process of the network namespace that the clients are in. */
  serve(server: Server, pid: number | 'self'): void {
    this.#servers.push(server)
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      // One look at the table for all that came at once.
      if (this.#waiting.push(socket) === 1) setImmediate(() => this.#dispatch(pid))
    })
  }

  #dispatch(pid: number | 'self'): void {
    const waiting = this.#waiting
    this.#waiting = []
    const seen = remotesOf(tcpSockets(pid), new Set(waiting.map(peerKey)))
    for (const socket of waiting) {
      const to = seen.get(peerKey(socket))
      if (to) this.#carry(socket, to)
      else reset(socket)
    }
  }

  #carry(socket: Socket, seen: Endpoint): void {
    const to = this.#meaning(seen)
    if (to?.host === PROBE_NAME) {
      socket.end(PROBE_NAME)
      return
    }
    if (!to) {
      this.#reporter.warn(`${destinationText(seen)}: reset, its name was looked up too long ago`)
      reset(socket)
      return
    }
    if (this.#isOurs(to)) {
      this.#reporter.warn(`${destinationText(to)}: reset, it is the tunnel itself`)
      reset(socket)
      return
    }
    if (this.#isProxied(to)) this.#proxied.carry(socket, to)
    else this.#direct.carry(socket, to)
  }

  /** Undoes what the command was told: mapped ports, and addresses that stand for names. */
  #meaning(seen: Endpoint): Destination | undefined {
    if (isFake(seen.host)) {
      const host = this.#names.nameOf(seen.host)
      return host === undefined ? undefined : { host, port: seen.port }
    }
    const isLoopback = seen.host === '::1' || seen.host.startsWith('127.')
    const mapping = this.#settings.mappings.find(({ port }) => isLoopback && port === seen.port)
    return mapping?.to ?? seen
  }

  /** Nobody was redirected from there: what we dialled would come to us again, without end. */
  #isOurs({ host, port }: Destination): boolean {
    return this.#servers.some((server) => {
      const at = server.address() as AddressInfo | null
      return at?.port === port && at.address === host
    })
  }

  #isProxied(to: Destination): boolean {
    if (this.#listed.has(destinationText(to))) return true
    if (this.#settings.mappings.some((mapping) => mapping.to === to)) return true
    return this.#settings.everything && !isOwnAddress(to.host)
  }
}

/**
 * Where the sockets at these local ends were connected to: NAT is below a client's socket, which still
 * says so. Connections to several places may share a local port, and only some of them are redirected.
 */
export function remotesOf(
  sockets: Iterable<TcpSocket>,
  locals: ReadonlySet<string>,
): ReadonlyMap<string, Endpoint> {
  const remotes = new Map<string, Endpoint>()
  for (const { local, remote, isListening, isOver } of sockets) {
    const key = destinationText(local)
    if (isListening || isOver || !locals.has(key)) continue
    const other = remotes.get(key)
    if (!other || likelihood(remote) > likelihood(other)) remotes.set(key, remote)
  }
  return remotes
}

/** How likely a connection to there is redirected. */
const likelihood = ({ host }: Endpoint): number =>
  isFake(host) ? 2 : host === '::1' || host.startsWith('127.') ? 0 : 1

const peerKey = ({ remoteAddress = '', remotePort = 0 }: Socket): string =>
  destinationText({ host: plainAddress(remoteAddress || '0.0.0.0'), port: remotePort })

/** Whether this machine itself has the address: the way to it needs no proxy. */
function isOwnAddress(host: string): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => plainAddress(address) === host),
  )
}
