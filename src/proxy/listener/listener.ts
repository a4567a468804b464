import type net from 'node:net'
import { createReadingServer } from '../../base/accept.ts'
import { breakOff } from '../../base/ends.ts'
import { unmapped } from '../../base/ip.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { ProxyContext } from '../context.ts'
import { CODES } from '../errors/codes.ts'
import { PublicConnection, type PublicOrigin, type Resolver } from '../http1/public-connection.ts'
import { RequestIds } from '../http1/request-id.ts'
import * as limits from '../limits.ts'
import { RateLimiter } from '../rates/rate-limiter.ts'
import { forwardTcp } from '../tcp/forward.ts'
import { DedicatedResolver, SharedResolver } from './resolver.ts'

/** Where a connection was going before the kernel steered it here. */
export type OriginalDestination = (socket: net.Socket) => { address: string; port: number }

/** A transparent socket is bound to the destination itself. */
export const localDestination: OriginalDestination = (socket) => ({
  address: unmapped(socket.localAddress ?? ''),
  port: socket.localPort ?? 0,
})

/** I2: the one port of a shared address where the app can be read from plain text. */
const SHARED_HTTP_PORT = 80

/** Accepts the public's connections and gives each to the handlers of its address and port. */
export function createListener(
  ctx: ProxyContext,
  destinationOf: OriginalDestination = localDestination,
): net.Server {
  const ids = new RequestIds(ctx.region, ctx.now)
  return createReadingServer(ctx.scratch, (socket, reader) => {
    ctx.counters.connectionsAccepted++
    if (ctx.connections.size >= limits.CONNECTIONS_MAX) {
      ctx.counters.limit('connections')
      reset(ctx, socket)
      return
    }
    const destination = destinationOf(socket)
    const accepted = socket.remoteAddress
      ? receptionOf(ctx, destination.address, destination.port)
      : NO_ADDRESS
    if (accepted.how === 'reset' || !socket.remoteAddress) {
      reset(ctx, socket)
      return
    }
    const origin: PublicOrigin = {
      clientAddress: unmapped(socket.remoteAddress),
      clientPort: socket.remotePort ?? 0,
      localAddress: destination.address,
      localPort: destination.port,
      https: false,
    }
    if (accepted.how === 'http')
      new PublicConnection(ctx, socket, reader, origin, accepted.resolver, ids, accepted.route)
    else if (accepted.how === 'tcp') {
      if (isOverRate(ctx, accepted.route, origin)) reset(ctx, socket)
      else forwardTcp(ctx, { socket, reader, first: NOTHING }, origin, accepted.route, ids.next())
    } else {
      sayNoCertificate(ctx, accepted.route)
      reset(ctx, socket)
    }
  })
}

/** What becomes of a connection to an address and port. */
export type Reception =
  | { readonly how: 'reset'; readonly why: 'no-address' | 'no-port' }
  | { readonly how: 'no-certificate'; readonly route: PortRoute }
  /** `route`: the address alone says which. */
  | { readonly how: 'http'; readonly resolver: Resolver; readonly route: PortRoute | null }
  | { readonly how: 'tcp'; readonly route: PortRoute }

const NOTHING = Buffer.alloc(0)
const NO_ADDRESS: Reception = { how: 'reset', why: 'no-address' }
const NO_PORT: Reception = { how: 'reset', why: 'no-port' }

export function receptionOf(ctx: ProxyContext, address: string, port: number): Reception {
  const owner = ctx.view.address(address)
  if (!owner) return NO_ADDRESS
  if (owner.kind === 'shared')
    return port === SHARED_HTTP_PORT
      ? { how: 'http', resolver: new SharedResolver(ctx, address, port), route: null }
      : NO_PORT
  const route = owner.app.port('tcp', port)
  if (!route) return NO_PORT
  if (route.handlers.includes('tls') || route.handlers.includes('pg_tls'))
    return { how: 'no-certificate', route }
  if (route.handlers.includes('http'))
    return { how: 'http', resolver: new DedicatedResolver(ctx, address, port), route }
  return { how: 'tcp', route }
}

function isOverRate(ctx: ProxyContext, route: PortRoute, { clientAddress }: PublicOrigin): boolean {
  const limiter = RateLimiter.of(ctx, route, clientAddress)
  if (limiter === null || limiter.take() === 0) return false
  const { PL01: message } = CODES
  ctx.counters.error('PL01')
  ctx.appLog.write({ app: route.app, machine: '', level: 'warn', code: 'PL01', message })
  return true
}

function sayNoCertificate(ctx: ProxyContext, route: PortRoute): void {
  const message = `port ${route.port} has the handler "tls", but there are no certificates yet: connections to it are reset`
  ctx.appLog.once({ app: route.app, machine: '', level: 'warn', code: 'PT06', message })
}

/** S1: as if nothing listened there. */
function reset(ctx: ProxyContext, socket: net.Socket): void {
  ctx.counters.connectionsReset++
  socket.on('error', () => {})
  breakOff(socket)
}
