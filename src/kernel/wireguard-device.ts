import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { backoffMs, type Clock } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { type Exec, systemExec } from './exec.ts'
import { findLink, ipBatch } from './ip.ts'

/** A WireGuard interface without addresses and peers. */
export interface WireguardDevice {
  readonly kind: 'kernel' | 'userspace'
  /** Stops watching. The interface stays: the mesh outlives the agent. */
  close(): void
}

export interface WireguardDeviceOptions {
  /** At most 15 characters; unique on the machine, because control sockets are shared by namespaces. */
  readonly device: string
  readonly exec?: Exec
  readonly clock: Clock
  readonly log: Logger
  /** Takes what wireguard-go says. */
  readonly logFile: string
  /** The interface was lost and is there again, empty: addresses, routes and peers must be set. */
  readonly onReplaced: () => void
  readonly socketDir?: string
}

const SOCKET_DIR = '/var/run/wireguard'
const START_TIMEOUT_MS = 5_000
const START_POLL_MS = 10
const DYING_MS = 1_000
const CONNECT_TIMEOUT_MS = 1_000

/**
 * Finds the interface, makes it in the kernel, or starts `wireguard-go`, which lives on when we end
 * and is taken over by our successor. A held connection to its control socket tells when it dies;
 * then it is started again.
 */
export async function ensureWireguard(options: WireguardDeviceOptions): Promise<WireguardDevice> {
  const { device, exec = systemExec } = options
  if (!/^[a-z][a-z0-9-]{2,14}$/.test(device))
    throw new FairwayError('invalid', `${device} cannot be a device name; use 3 to 15 of a-z 0-9 -`)
  const held = await holdSocket(options)
  if (held) return new UserspaceDevice(options, held)
  const link = await findLink(exec, device)
  if (link?.linkinfo?.info_kind === 'wireguard') return { kind: 'kernel', close: () => {} }
  if (link)
    throw new FairwayError(
      'device_taken',
      `${device} is there and is no WireGuard interface; remove it: ip link del dev ${device}`,
    )
  try {
    await ipBatch(exec, [`link add name ${device} type wireguard`])
    return { kind: 'kernel', close: () => {} }
  } catch (error) {
    options.log.info({ device, reason: messageOf(error) }, 'no WireGuard in the kernel')
  }
  return new UserspaceDevice(options, await startUserspace(options))
}

class UserspaceDevice implements WireguardDevice {
  readonly kind = 'userspace'
  readonly #options: WireguardDeviceOptions
  #socket: Socket | undefined
  readonly #closed = new AbortController()

  constructor(options: WireguardDeviceOptions, socket: Socket) {
    this.#options = options
    this.#watch(socket)
  }

  close(): void {
    this.#closed.abort()
    this.#socket?.destroy()
  }

  #watch(socket: Socket): void {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('close', () => void this.#restart())
  }

  async #restart(): Promise<void> {
    const { clock, log, device, onReplaced } = this.#options
    const { signal } = this.#closed
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        if (attempt > 0) await clock.sleep(backoffMs(attempt - 1, Math.random), signal)
        log.warn({ device }, 'wireguard-go ended; starting it again')
        const socket = (await othersSocket(this.#options)) ?? (await startUserspace(this.#options))
        if (signal.aborted) return void socket.destroy()
        this.#watch(socket)
        onReplaced()
        return
      } catch (error) {
        if (!signal.aborted) log.error({ device, reason: messageOf(error) }, 'no mesh interface')
      }
    }
  }
}

/**
 * A process that dies may take connections until its last descriptor is closed. Whoever still takes
 * them after DYING_MS was started by somebody else.
 */
async function othersSocket(options: WireguardDeviceOptions): Promise<Socket | undefined> {
  for (let waitedMs = 0; ; waitedMs += START_POLL_MS) {
    const socket = await holdSocket(options)
    if (!socket || waitedMs >= DYING_MS) return socket
    socket.destroy()
    await options.clock.sleep(START_POLL_MS)
  }
}

async function startUserspace(options: WireguardDeviceOptions): Promise<Socket> {
  const { device, clock, logFile } = options
  const output = openSync(logFile, 'a', 0o600)
  const child = spawn('wireguard-go', ['-f', device], {
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...process.env, LOG_LEVEL: 'error' },
  })
  closeSync(output)
  let failure: string | undefined
  child.on('error', (error) => {
    failure = error.message
  })
  child.on('exit', (code, signal) => {
    failure ??= `it ended with ${signal ?? `exit code ${code}`}`
  })
  child.unref()
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += START_POLL_MS) {
    // Its control socket appears after the interface.
    const socket = await holdSocket(options)
    if (socket) return socket
    if (failure !== undefined) break
    await clock.sleep(START_POLL_MS)
  }
  if (failure === undefined) child.kill('SIGKILL')
  throw new FairwayError(
    'no_wireguard',
    `wireguard-go -f ${device}: ${failure ?? `not ready after ${START_TIMEOUT_MS} ms`}; ` +
      `see ${logFile}; is wireguard-go installed and /dev/net/tun open to this user?`,
  )
}

/** A connection to a wireguard-go that runs, or `undefined`. */
function holdSocket({ device, socketDir = SOCKET_DIR }: WireguardDeviceOptions) {
  return new Promise<Socket | undefined>((resolve) => {
    const socket = connect(`${socketDir}/${device}.sock`)
    const none = () => {
      socket.destroy()
      resolve(undefined)
    }
    socket.setTimeout(CONNECT_TIMEOUT_MS, none)
    socket.once('error', none)
    socket.once('connect', () => {
      socket.off('error', none)
      socket.setTimeout(0)
      socket.unref()
      socket.resume()
      resolve(socket)
    })
  })
}
