import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply } from 'fastify'
import type { MachineTarget } from '../control/machines/records.ts'

/** What routes about machines have in common. */

export const MACHINES_PATH = '/v1/apps/:app/machines'
/** One machine's path; its parameters are `machinePath`. */
export const MACHINE_PATH = `${MACHINES_PATH}/:id`

interface AboutMachine {
  readonly params: { readonly app: string; readonly id: string }
  readonly headers: IncomingHttpHeaders
}

/** The machine that a path and the nonce header speak of. */
export function targetOf({ params, headers }: AboutMachine): MachineTarget {
  const nonce = headers['fly-machine-lease-nonce']
  const { app, id } = params
  return { app, machine: id, nonce: typeof nonce === 'string' ? nonce : undefined }
}

/** Aborts when the client has hung up, or been answered. */
export function closedSignal(reply: { readonly raw: FastifyReply['raw'] }): AbortSignal {
  const closed = new AbortController()
  reply.raw.once('close', () => closed.abort())
  return closed.signal
}
