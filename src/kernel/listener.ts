import { closeSync } from 'node:fs'
import { FairwayError } from '../base/errors.ts'
import {
  AF_INET6,
  errnoOf,
  errorText,
  type Libc,
  openLibc,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from './libc.ts'

/**
 * Listening sockets that may take connections to addresses which the host does not have. Node lacks
 * the socket option, so that system calls are made through `node:ffi`.
 */

// Numbers of the Linux ABI, equal on x86-64 and arm64.
const SO_REUSEADDR = 2
const SO_REUSEPORT = 15
const IP_TRANSPARENT = 19
const IPV6_V6ONLY = 26
const IPV6_TRANSPARENT = 75
const SOCKADDR_IN6_BYTES = 28

const BACKLOG = 4_096
const LISTENERS_MAX = 256

/**
 * Opens `count` dual-stack TCP listeners on one port, among which the kernel spreads connections,
 * and returns their descriptors. They close on exec: a child gets one only when it is handed down
 * in `stdio`. Needs CAP_NET_ADMIN in the network namespace.
 */
export function openTransparentListeners(port: number, count: number): number[] {
  if (!Number.isInteger(count) || count < 1 || count > LISTENERS_MAX)
    throw new FairwayError('invalid', `listeners: ${count}; give 1 to ${LISTENERS_MAX}`)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new FairwayError('invalid', `port: ${port}; give 1 to 65535`)
  const libc = openLibc()
  const fds: number[] = []
  try {
    for (let i = 0; i < count; i++) fds.push(openOne(libc, port))
    return fds
  } catch (error) {
    for (const fd of fds) closeSync(fd)
    throw error
  }
}

/** Another descriptor of the same socket, for whoever closes its own. */
export function duplicate(fd: number): number {
  const libc = openLibc()
  const other = libc.dup(fd)
  check(libc, other, `dup of descriptor ${fd}`)
  return other
}

function openOne(libc: Libc, port: number): number {
  const fd = libc.socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)
  check(libc, fd, 'socket')
  try {
    setOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1)
    setOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1)
    setOption(libc, fd, SOL_IPV6, IPV6_V6ONLY, 0)
    setOption(libc, fd, SOL_IP, IP_TRANSPARENT, 1)
    setOption(libc, fd, SOL_IPV6, IPV6_TRANSPARENT, 1)
    const address = Buffer.alloc(SOCKADDR_IN6_BYTES)
    address.writeUInt16LE(AF_INET6, 0)
    address.writeUInt16BE(port, 2)
    check(libc, libc.bind(fd, address, SOCKADDR_IN6_BYTES), `bind to port ${port}`)
    check(libc, libc.listen(fd, BACKLOG), `listen on port ${port}`)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function setOption(libc: Libc, fd: number, level: number, option: number, value: number): void {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  const what = option === IP_TRANSPARENT || option === IPV6_TRANSPARENT ? 'IP_TRANSPARENT' : option
  check(libc, libc.setsockopt(fd, level, option, bytes, 4), `socket option ${what}`)
}

function check(libc: Libc, result: number, what: string): void {
  if (result >= 0) return
  const text = errorText(libc, errnoOf(libc))
  const hint = what.includes('TRANSPARENT') ? '; it needs CAP_NET_ADMIN' : ''
  throw new FairwayError('listener', `transparent listener: ${what}: ${text}${hint}`)
}
