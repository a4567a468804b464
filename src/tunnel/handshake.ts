import type { Destination } from './destinations.ts'
import { httpConnect } from './http-connect.ts'
import type { OutboundProxy } from './proxy-url.ts'
import { socks5 } from './socks5.ts'

/**
 * One conversation with the proxy before bytes flow. `first` opens it, then `push` takes whatever
 * comes. It throws a TunnelError when the proxy refuses or does not speak the protocol.
 */
export interface Handshake {
  readonly first: Buffer
  push(chunk: Buffer): Step
}

export type Step =
  | { readonly t: 'more' }
  | { readonly t: 'send'; readonly bytes: Buffer }
  /** Connected; `rest` came after the answer and is the destination's already. */
  | { readonly t: 'open'; readonly rest: Buffer }

export const handshake = (proxy: OutboundProxy, to: Destination): Handshake =>
  proxy.protocol === 'socks5' ? socks5(to, proxy.credentials) : httpConnect(to, proxy.credentials)
