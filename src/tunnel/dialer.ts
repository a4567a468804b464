import { lookup } from 'node:dns/promises'
import { connect, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls } from 'node:tls'
import { type Destination, destinationText } from './destinations.ts'
import { TunnelError, textOf } from './failure.ts'
import { handshake } from './handshake.ts'
import type { OutboundProxy } from './proxy-url.ts'

/** Opens connections through the proxy. */
export interface Dialer {
  /**
   * A connection to `to`, paused, with nothing of the proxy's answer left in it. Its peer may close
   * one half alone. Throws a TunnelError in plain words.
   */
  dial(to: Destination): Promise<Socket>
}

export interface DialLimits {
  readonly lookupMs: number
  /** For TCP and TLS to one of the proxy's addresses. */
  readonly connectMs: number
  /** For the proxy to reach the destination. */
  readonly answerMs: number
}

export const DIAL_LIMITS: DialLimits = { lookupMs: 5_000, connectMs: 5_000, answerMs: 30_000 }
const ADDRESSES_MAX = 8
const KEEP_ALIVE_MS = 60_000

type Lookup = (host: string) => Promise<readonly string[]>

const systemLookup: Lookup = async (host) =>
  (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

export function createDialer(
  proxy: OutboundProxy,
  limits: DialLimits = DIAL_LIMITS,
  lookUp: Lookup = systemLookup,
): Dialer {
  /** The address that answered last is tried first: a dead one costs its time-out once. */
  let good: string | undefined

  async function reach(): Promise<Socket> {
    const addresses = await addressesOf(proxy.host, lookUp, limits.lookupMs)
    const ordered = [...addresses].sort((a, b) => Number(b === good) - Number(a === good))
    const failures: string[] = []
    for (const address of ordered.slice(0, ADDRESSES_MAX)) {
      try {
        const socket = await open(proxy, address, limits.connectMs)
        good = address
        return socket
      } catch (error) {
        failures.push(`${address}: ${textOf(error)}`)
      }
    }
    throw new TunnelError(
      `the proxy ${proxy.host}:${proxy.port} cannot be reached (${failures.join('; ')})`,
    )
  }

  return {
    async dial(to) {
      const socket = await reach()
      try {
        await withTimeout(
          converse(socket, proxy, to),
          limits.answerMs,
          `${destinationText(to)}: the proxy did not answer in ${limits.answerMs / 1000} s`,
        )
        return socket
      } catch (error) {
        socket.destroy()
        throw error
      }
    },
  }
}

async function addressesOf(host: string, lookUp: Lookup, ms: number): Promise<readonly string[]> {
  if (isIP(host)) return [host]
  const found = await withTimeout(
    lookUp(host).catch((error) => {
      throw new TunnelError(`the proxy's name ${host} cannot be resolved (${textOf(error)})`)
    }),
    ms,
    `the proxy's name ${host} was not resolved in ${ms / 1000} s`,
  )
  return [...new Set(found)]
}

function open(proxy: OutboundProxy, address: string, ms: number): Promise<Socket> {
  const { port, host } = proxy
  const common = { host: address, port, allowHalfOpen: true, noDelay: true }
  const socket = proxy.tls
    ? connectTls({
        ...common,
        // RFC 6066 3: a server name is never an address.
        ...(isIP(host) ? {} : { servername: host }),
        checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
      })
    : connect(common)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  // Whoever has the socket listens for its errors too; between two owners nobody does.
  socket.on('error', () => {})
  const opened = new Promise<Socket>((resolve, reject) => {
    socket.once(proxy.tls ? 'secureConnect' : 'connect', () => resolve(socket))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('it closed the connection')))
  })
  return withTimeout(opened, ms, `no connection in ${ms / 1000} s`).catch((error) => {
    socket.destroy()
    throw error
  })
}

/** Speaks with the proxy until it says that the destination is there. */
function converse(socket: Socket, proxy: OutboundProxy, to: Destination): Promise<void> {
  const talk = handshake(proxy, to)
  return new Promise<void>((resolve, reject) => {
    const done = (finish: () => void) => {
      socket.off('data', onData).off('error', onError).off('end', onEnd).off('close', onEnd)
      socket.pause()
      finish()
    }
    const onError = (error: Error) =>
      done(() =>
        reject(new TunnelError(`${destinationText(to)}: the proxy failed (${error.message})`)),
      )
    const onEnd = () =>
      done(() =>
        reject(
          new TunnelError(
            `${destinationText(to)}: the proxy closed the connection without an answer`,
          ),
        ),
      )
    const onData = (chunk: Buffer) => {
      try {
        const step = talk.push(chunk)
        if (step.t === 'send') socket.write(step.bytes)
        if (step.t !== 'open') return
        done(() => {
          if (step.rest.length > 0) socket.unshift(step.rest)
          resolve()
        })
      } catch (error) {
        done(() => reject(error))
      }
    }
    socket.on('data', onData).on('error', onError).on('end', onEnd).on('close', onEnd)
    socket.write(talk.first)
  })
}

async function withTimeout<T>(promise: Promise<T>, ms: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TunnelError(message)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
