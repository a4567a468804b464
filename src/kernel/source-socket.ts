import { closeSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { parseIp } from '../base/ip.ts'
import {
  AF_INET,
  AF_INET6,
  errnoOf,
  type Libc,
  openLibc,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IP,
} from './libc.ts'

const IP_BIND_ADDRESS_NO_PORT = 24
/** Linux 6.3. */
const IP_LOCAL_PORT_RANGE = 51
const ENOPROTOOPT = 92
const SOCKADDR_IN_BYTES = 16
const SOCKADDR_IN6_BYTES = 28

export interface SocketSource {
  /** An address of this network namespace. */
  readonly address: string
  /** Local ports to choose from; they must lie within net.ipv4.ip_local_port_range. */
  readonly portMin: number
  readonly portMax: number
}

/**
 * Opens TCP sockets that will connect from a given address, at a port that is chosen only when the
 * destination is known. Then a port serves any number of connections to different destinations; a
 * `localAddress` binds it when the socket is made, for one connection alone.
 */
export class SourceSockets {
  readonly #libc: Libc = openLibc()
  readonly #prepared = new Map<string, Prepared>()
  #ranges = true

  /** False once the kernel has refused port ranges: then it chooses any port. */
  get ranges(): boolean {
    return this.#ranges
  }

  /** The descriptor of a new socket. Throws a system error with `code`, such as EADDRNOTAVAIL. */
  open(source: SocketSource): number {
    const libc = this.#libc
    const { family, address, range } = this.#prepare(source)
    const fd = libc.socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    if (fd < 0) throw systemError('socket', errnoOf(libc))
    try {
      this.#option(fd, IP_BIND_ADDRESS_NO_PORT, ONE)
      if (this.#ranges) this.#option(fd, IP_LOCAL_PORT_RANGE, range)
      if (libc.bind(fd, address, address.length) < 0) throw systemError('bind', errnoOf(libc))
      return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  #option(fd: number, option: number, value: Buffer): void {
    if (this.#libc.setsockopt(fd, SOL_IP, option, value, value.length) === 0) return
    const errno = errnoOf(this.#libc)
    if (option !== IP_LOCAL_PORT_RANGE || errno !== ENOPROTOOPT)
      throw systemError('setsockopt', errno)
    this.#ranges = false
  }

  #prepare(source: SocketSource): Prepared {
    const known = this.#prepared.get(source.address)
    if (known?.source.portMin === source.portMin && known.source.portMax === source.portMax)
      return known
    const prepared = prepare(source)
    if (this.#prepared.size >= PREPARED_MAX) this.#prepared.clear()
    this.#prepared.set(source.address, prepared)
    return prepared
  }
}
const PREPARED_MAX = 8_192

interface Prepared {
  readonly source: SocketSource
  readonly family: number
  /** A `sockaddr` with port 0. */
  readonly address: Buffer
  readonly range: Buffer
}

const ONE = Buffer.of(1, 0, 0, 0)

function prepare(source: SocketSource): Prepared {
  const ip = parseIp(source.address)
  if (!ip) throw new Error(`source: ${source.address} is not an address`)
  const range = Buffer.alloc(4)
  range.writeUInt32LE(((source.portMax << 16) | source.portMin) >>> 0)
  const isV4 = ip.family === 4
  const address = Buffer.alloc(isV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES)
  address.writeUInt16LE(isV4 ? AF_INET : AF_INET6)
  if (isV4) address.writeUInt32BE(Number(ip.bits), 4)
  else Buffer.from(ip.bits.toString(16).padStart(32, '0'), 'hex').copy(address, 8)
  return { source, family: isV4 ? AF_INET : AF_INET6, address, range }
}

function systemError(call: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`${call}: ${code}`), { code, errno: -errno, syscall: call })
}
