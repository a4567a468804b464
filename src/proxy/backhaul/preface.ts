import { isIP } from 'node:net'
import type { RefusalReason } from '../balance/balancer.ts'
import { PREFACE_BYTES_MAX } from '../limits.ts'

/**
 * What an edge says to the edge of the host that runs the machine, before each request or stream:
 * one line, in the same write as the request's head.
 *
 *   F1 <h|f|t> <app> <machine> <service> <port> <client> <port> <local> <port> <s|-> <region> <id> CRLF
 *
 * h: HTTP, f: the same, and the client insists on the machine (R30), t: a stream.
 * The answer is `+` LF before the response (or before the stream), or `-<code>` LF: refused, and
 * nothing of it has reached the machine unless the code is that of a failed exchange.
 */
export interface Preface {
  readonly kind: 'http' | 'tcp'
  /** The client insists on this machine, even when its checks fail. */
  readonly forced: boolean
  readonly app: string
  readonly machine: string
  /** Index into the endpoint's services. */
  readonly service: number
  /** External port. */
  readonly port: number
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
  readonly https: boolean
  /** Of the edge that accepted the client. */
  readonly region: string
  readonly requestId: string
}

export const ACCEPT_LINE = '+\n'
export const refusalLine = (code: string): string => `-${code}\n`
/** Refusal codes. Everything else is a code of L14: what became of the exchange with the machine. */
export const AT_LIMIT = 'LIMIT'
/** The edge is being replaced: the same again, on a new connection, reaches the next one. */
export const DRAINING = 'DRAINING'
/** The app had the request and its time. */
export const TIMED_OUT = 'TIMEOUT'
const NOT_HERE = 'PR02'
const NOT_STARTED = 'NOTSTARTED'
const CORDONED = 'CORDONED'
const UNHEALTHY = 'UNHEALTHY'

/** What a host answers when its machine may not have the request. */
export function codeOfRefusal(reason: RefusalReason): string {
  switch (reason) {
    case 'hard-limit':
      return AT_LIMIT
    case 'not-started':
      return NOT_STARTED
    case 'cordoned':
      return CORDONED
    case 'unhealthy':
      return UNHEALTHY
    default:
      return NOT_HERE
  }
}

const HOST_REFUSALS: Readonly<Record<string, string>> = {
  [AT_LIMIT]: 'the machine is at its hard limit',
  [DRAINING]: 'the edge of its host is being replaced',
  [NOT_HERE]: 'its host does not have it any more',
  [NOT_STARTED]: 'the machine is not started',
  [CORDONED]: 'the machine is cordoned',
  [UNHEALTHY]: 'a check of the machine fails',
}

/** The machine's host has said no; nothing has gone wrong with the machine. */
export const isHostRefusal = (code: string): boolean => Object.hasOwn(HOST_REFUSALS, code)

/** What such a refusal says; '' for other codes, which say it themselves. */
export const reasonOfRefusal = (code: string): string => HOST_REFUSALS[code] ?? ''

const KINDS = { http: 'h', 'forced-http': 'f', tcp: 't' } as const

/** The part that is the same for all requests to one candidate. */
export const prefaceTarget = (
  kind: keyof typeof KINDS,
  app: string,
  machine: string,
  service: number,
  port: number,
): string => `F1 ${KINDS[kind]} ${app} ${machine} ${service} ${port} `

/** The part that is the same for all requests of one client's connection; the id and CRLF follow. */
export const prefaceOrigin = (origin: {
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
  readonly https: boolean
  readonly region: string
}): string =>
  `${origin.clientAddress} ${origin.clientPort} ${origin.localAddress} ${origin.localPort} ${
    origin.https ? 's' : '-'
  } ${origin.region} `

const LINE =
  /^F1 ([hft]) ([a-z0-9][a-z0-9-]{0,62}) ([0-9a-z]{1,32}) (\d{1,3}) (\d{1,5}) ([0-9a-f:.]{2,45}) (\d{1,5}) ([0-9a-f:.]{2,45}) (\d{1,5}) ([s-]) ([a-z0-9-]{1,16}) ([0-9A-Za-z-]{1,64})$/

/** Parses the line without its CRLF; undefined when it is not a preface. */
export function parsePreface(line: string): Preface | undefined {
  const m = LINE.exec(line)
  if (!m || line.length >= PREFACE_BYTES_MAX) return undefined
  const ports = [Number(m[5]), Number(m[7]), Number(m[9])]
  if (ports.some((port) => port < 1 || port > 65_535)) return undefined
  if (isIP(m[6]!) === 0 || isIP(m[8]!) === 0) return undefined
  return {
    kind: m[1] === 't' ? 'tcp' : 'http',
    forced: m[1] === 'f',
    ...{ app: m[2]!, machine: m[3]!, service: Number(m[4]), port: ports[0]! },
    ...{ clientAddress: m[6]!, clientPort: ports[1]! },
    ...{ localAddress: m[8]!, localPort: ports[2]! },
    ...{ https: m[10] === 's', region: m[11]!, requestId: m[12]! },
  }
}

/** The code of a refusal that `text` begins with; '' when more has to come, undefined: not one. */
export function refusalCode(text: string): string | undefined {
  const m = /^-([A-Z0-9]{1,16})\n/.exec(text)
  if (m) return m[1]!
  return /^(\+|-[A-Z0-9]{0,16})?$/.test(text) ? '' : undefined
}
