import { isIPv4 } from 'node:net'
import { parseIp } from '../../base/ip.ts'

export interface ProxiedConnection {
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
}

const V2_SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'

/** The PROXY protocol's header (U8) as a latin1 string: text for v1, octets for v2. */
export function proxyHeader(connection: ProxiedConnection, version: 'v1' | 'v2'): string {
  const { clientAddress, clientPort, localAddress, localPort } = connection
  const v4 = isIPv4(clientAddress) && isIPv4(localAddress)
  if (version === 'v1')
    return `PROXY ${v4 ? 'TCP4' : 'TCP6'} ${clientAddress} ${localAddress} ${clientPort} ${localPort}\r\n`
  const addresses = octets(clientAddress, v4) + octets(localAddress, v4)
  const body = addresses + u16(clientPort) + u16(localPort)
  // 0x21: version 2, PROXY. 0x11, 0x21: TCP over IPv4, IPv6.
  return `${V2_SIGNATURE}\x21${v4 ? '\x11' : '\x21'}${u16(body.length)}${body}`
}

const u16 = (n: number): string => String.fromCharCode(n >> 8, n & 255)

function octets(address: string, v4: boolean): string {
  const { bits, family } = parseIp(address)!
  // A v4 address beside a v6 one can only be shown mapped.
  const value = !v4 && family === 4 ? bits | (0xffffn << 32n) : bits
  const hex = value.toString(16).padStart(v4 ? 8 : 32, '0')
  return Buffer.from(hex, 'hex').toString('latin1')
}
