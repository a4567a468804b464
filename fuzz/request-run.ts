import { differences } from './compare.ts'
import type { OriginName, Origins } from './origins.ts'
import type { RawClient, RawClients, Response } from './raw-client.ts'
import { type ReferenceConnection, type ReferenceRequest, readConnection } from './reference.ts'
import type { RequestCase } from './requests.ts'
import { isStricter } from './strictness.ts'

/** Sends a case through the edge to an origin, and compares what everybody has seen. */

/** Asked last on a connection that is said to be usable. */
const AFTER = 'GET /after HTTP/1.1\r\nHost: a.test\r\nX-After: 1\r\n\r\n'
const AFTER_REQUEST = readConnection(AFTER).requests[0]!

export interface Exchange {
  readonly request: ReferenceRequest
  readonly response: Response
}

export interface RequestResult {
  readonly origin: OriginName
  readonly reference: ReferenceConnection
  readonly exchanges: readonly Exchange[]
  /** What is wrong already. */
  readonly problems: readonly string[]
}

export async function runRequestCase(
  clients: RawClients,
  origin: OriginName,
  port: number,
  segments: RequestCase,
  reference: ReferenceConnection,
): Promise<RequestResult> {
  const exchanges: Exchange[] = []
  const client = clients.take(port)
  await client.send(segments)
  const problem = await converse(origin, client, reference, exchanges)
  const last = exchanges.at(-1)
  // The request after it has been answered as its own.
  const isUsable =
    problem === undefined && last?.request === AFTER_REQUEST && !closes(last.response)
  if (isUsable) clients.give(port, client)
  else client.destroy()
  return { origin, reference, exchanges, problems: problem === undefined ? [] : [problem] }
}

/** Takes the responses one by one; returns what is wrong with them. */
async function converse(
  origin: OriginName,
  client: RawClient,
  reference: ReferenceConnection,
  exchanges: Exchange[],
): Promise<string | undefined> {
  for (const request of reference.requests) {
    const response = await client.response(request.method === 'HEAD')
    if (typeof response === 'string')
      return `no response to request ${exchanges.length}: ${response}; the reference takes it`
    exchanges.push({ request, response })
    if (closes(response)) return client.end()
  }
  switch (reference.end) {
    case 'open': {
      await client.send([AFTER])
      const response = await client.response(false)
      if (typeof response === 'string') return `no response to the request after it: ${response}`
      exchanges.push({ request: AFTER_REQUEST, response })
      return undefined
    }
    case 'close':
      return client.end()
    default: {
      const { end, statuses, pending } = reference
      if (end === 'unfinished') client.finish()
      const response = await client.response(pending?.method === 'HEAD')
      return refusal(origin, response, end === 'refused' ? statuses : null, pending, client)
    }
  }
}

/** `statuses`: those that it has to be one of; null: there need be none. */
async function refusal(
  origin: OriginName,
  response: Response | string,
  statuses: ReadonlySet<number> | null,
  pending: ReferenceRequest | null,
  client: RawClient,
): Promise<string | undefined> {
  if (typeof response === 'string') {
    if (statuses === null && response === 'ended') return undefined
    return statuses === null && response.startsWith('reset')
      ? undefined
      : `${response} instead of a refusal`
  }
  const { status, body } = response
  const hasOwnBody = body.startsWith(`${status} `) || (pending?.method === 'HEAD' && body === '')
  const isOwn = hasOwnBody && fieldOf(response, 'x-saw') === undefined
  // Whoever will have nothing of the head need not wait for the body.
  const isEarly = pending !== null && isStricter(origin, pending) && status >= 400
  if (!isOwn && isEarly && closes(response)) return client.end()
  if (!isOwn) return `answered with ${status} ${JSON.stringify(body)}, which should be refused`
  const expected = statuses ?? REFUSALS
  if (!expected.has(status)) return `refused with ${status}, not ${[...expected].join(' or ')}`
  if (!closes(response)) return `refused with ${status}, but the connection goes on`
  return client.end()
}

const REFUSALS = new Set([400, 414, 431, 501, 505])

const fieldOf = ({ fields }: Response, name: string): string | undefined =>
  fields.find(([n]) => n === name)?.[1]
const closes = (response: Response): boolean => fieldOf(response, 'connection') === 'close'

/** What a case came to, with the records of the origin, which are taken out of `origins`. */
export function judge(result: RequestResult, origins: Origins): string[] {
  const problems = [...result.problems]
  for (const [n, { request, response }] of result.exchanges.entries()) {
    const id = fieldOf(response, 'fly-request-id') ?? ''
    const saw = fieldOf(response, 'x-saw')
    const records = origins.records.get(id) ?? []
    origins.records.delete(id)
    const which = `request ${n} (${id})`
    if (saw === undefined) {
      if (records.length > 0) problems.push(`${which}: seen, but the answer is another one's`)
      else if (!isStricter(result.origin, request))
        problems.push(`${which}: ${result.origin} refused it: ${response.status} ${shown(request)}`)
    } else if (saw !== id) problems.push(`${which}: the answer is that of ${saw}`)
    else if (records.length !== 1) problems.push(`${which}: seen ${records.length} times`)
    else if (records[0]!.origin !== result.origin)
      problems.push(`${which}: seen by ${records[0]!.origin}`)
    else problems.push(...differences(result.origin, request, records[0]!))
  }
  return problems
}

/** How many of the requests the origin may have refused to read. */
export function refusedBy({ origin, reference, exchanges }: RequestResult): number {
  const { pending } = reference
  const seen = exchanges.filter(({ response }) => fieldOf(response, 'x-saw') === undefined).length
  return seen + (pending && isStricter(origin, pending) ? 1 : 0)
}

const shown = ({ method, target, host, fields }: ReferenceRequest): string =>
  JSON.stringify({ method, target, host, fields }).slice(0, 600)
