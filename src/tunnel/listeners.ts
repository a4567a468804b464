import { createServer, type Server } from 'node:net'
import type { Carrier } from './carrier.ts'
import { type Destination, destinationText, type Mapping } from './destinations.ts'
import { codeOf, TunnelError, textOf } from './failure.ts'

export interface Closable {
  close(): void
}

const BACKLOG = 511
const LOOPBACK = ['127.0.0.1', '::1'] as const

/** Listens at one address and port, and carries all that comes to `to`. Rejects with Node's error. */
export function listen(
  carrier: Carrier,
  host: string,
  port: number,
  to: Destination,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
    carrier.carry(socket, to),
  )
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: BACKLOG, ipv6Only: true }, () => resolve(server))
  })
}

/** Opens the mapped ports: all of them, or none and a TunnelError. */
export async function openMappings(
  carrier: Carrier,
  mappings: readonly Mapping[],
): Promise<readonly Closable[]> {
  const servers: Server[] = []
  try {
    for (const mapping of mappings) servers.push(...(await openMapping(carrier, mapping)))
    return servers
  } catch (error) {
    for (const server of servers) server.close()
    throw error
  }
}

async function openMapping(carrier: Carrier, { listen: at, port, to }: Mapping): Promise<Server[]> {
  const servers: Server[] = []
  for (const host of at === null ? LOOPBACK : [at]) {
    try {
      servers.push(await listen(carrier, host, port, to))
    } catch (error) {
      // A kernel without IPv6 has no ::1, and clients there do not look for it.
      const noV6 = ['EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(codeOf(error) ?? '')
      if (at === null && host === '::1' && noV6) continue
      for (const server of servers) server.close()
      throw new TunnelError(
        `--map ${port}:${destinationText(to)}: ${listenProblem(error, host, port)}`,
      )
    }
  }
  return servers
}

/** Why a port cannot be listened at, and what helps. */
export function listenProblem(error: unknown, host: string, port: number): string {
  switch (codeOf(error)) {
    case 'EACCES':
      return `port ${port} is for root on this machine; lower net.ipv4.ip_unprivileged_port_start to ${port} (sysctl), or map another port`
    case 'EADDRINUSE':
      return `something listens at port ${port} already (on ${host} or on every address); stop it, or map another port`
    case 'EADDRNOTAVAIL':
      return `${host} is not an address of this machine`
    default:
      return `cannot listen at ${host} port ${port} (${textOf(error)})`
  }
}
