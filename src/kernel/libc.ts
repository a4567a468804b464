import { FairwayError, messageOf } from '../base/errors.ts'

/** System calls that Node lacks, made through `node:ffi`. */

// Numbers of the Linux ABI, equal on x86-64 and arm64.
export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_STREAM = 1
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SOL_IP = 0
export const SOL_IPV6 = 41

const ffi = process.getBuiltinModule('node:ffi')

export type Libc = ReturnType<typeof openLibc>

/** Throws `no_ffi` where it is not to be had. */
export function openLibc() {
  if (!ffi)
    throw new FairwayError(
      'no_ffi',
      `Node ${process.version} has no node:ffi, which listeners and sources of the platform need; use Node 26.1 or newer`,
    )
  try {
    return ffi.dlopen('libc.so.6', {
      socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
      setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
      bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
      dup: { arguments: ['i32'], return: 'i32' },
      listen: { arguments: ['i32', 'i32'], return: 'i32' },
      __errno_location: { arguments: [], return: 'pointer' },
      strerror: { arguments: ['i32'], return: 'pointer' },
    }).functions
  } catch (error) {
    throw new FairwayError('no_ffi', `libc.so.6 cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

export const errnoOf = (libc: Libc): number => ffi.getInt32(libc.__errno_location())

export const errorText = (libc: Libc, errno: number): string =>
  ffi.toString(libc.strerror(errno)) ?? `error ${errno}`
