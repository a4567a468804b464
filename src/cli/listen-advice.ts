import type { ApiMachine } from './api-types.ts'
import { machinePath } from './machines.ts'
import type { Session } from './session.ts'

interface Process {
  readonly command: string
  readonly listen_sockets?: readonly { readonly proto: string; readonly address: string }[] | null
}

/**
 * S5: the edge reaches a machine over IPv4, so an app that listens on 127.0.0.1 gets nothing. Returns
 * the warning, or undefined when all is well or nothing can be seen.
 */
export async function listenAdvice(
  session: Session,
  machine: ApiMachine,
): Promise<string | undefined> {
  const ports = (machine.config.services ?? [])
    .filter((service) => service.protocol === 'tcp')
    .map((service) => service.internal_port)
  if (ports.length === 0) return undefined
  let processes: readonly Process[]
  try {
    processes = await session.client.get<readonly Process[]>(machinePath(session, machine.id, 'ps'))
  } catch {
    return undefined
  }
  const sockets = processes
    .flatMap((process) => process.listen_sockets ?? [])
    .filter((socket) => socket.proto.startsWith('tcp'))
    .map((socket) => socket.address)
  if (sockets.length === 0) return undefined
  const missing = ports.filter((port) => !sockets.some((address) => reachable(address, port)))
  if (missing.length === 0) return undefined
  return (
    `WARNING: the app does not listen on ${missing.map((p) => `0.0.0.0:${p}`).join(', ')}, where ` +
    `services expect it. It listens on: ${[...new Set(sockets)].join(', ')}.`
  )
}

function reachable(address: string, port: number): boolean {
  const split = address.lastIndexOf(':')
  const host = address.slice(0, split)
  return Number(address.slice(split + 1)) === port && !/^(127\.|\[?::1\]?$|localhost)/.test(host)
}
