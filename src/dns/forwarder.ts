import { type Clock, systemClock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { parseIp, parsePrefix, prefixContains } from '../base/ip.ts'
import type { Logger } from '../base/log.ts'
import { AnswerCache } from './cache.ts'
import { canonicalName, isWithin } from './name.ts'
import { type Message, RCODE, respond } from './records.ts'
import {
  type DnsClient,
  type DnsHandler,
  type DnsServer,
  type DnsServerOptions,
  startDnsServer,
} from './server.ts'
import { type Ask, exchange, type Upstream } from './upstream.ts'
import type { WhoamiHandler } from './whoami.ts'
import { negative } from './zone.ts'

export interface ForwarderOptions {
  readonly upstreams: readonly Upstream[]
  readonly log: Logger
  readonly clock?: Clock
  /** For each try; there are TRIES_MAX, turning through the upstreams. */
  readonly tryMs?: number
  /** Questions that wait for upstreams at once. */
  readonly activeMax?: number
  readonly activePerClientMax?: number
}

/** Below the 5 s after which a C library asks again, and one try within the first second. */
const TRY_MS = 1_200
const TRIES_MAX = 4
const ACTIVE_MAX = 512
const ACTIVE_PER_CLIENT_MAX = 64
/** Private names never leave the host; nobody answers them yet. */
const LOCAL_ZONES = ['internal', 'flycast']
const MACHINES = parsePrefix('fdaa::/16')!

/** The resolver of a host's machines: UDP and TCP, for machines alone. */
export function createForwarder(
  options: ForwarderOptions & {
    readonly addresses: readonly string[]
    readonly port: number
    /** Who may ask; machines by default. */
    readonly allow?: (address: string) => boolean
    readonly limits?: DnsServerOptions['limits']
    /** Asked first: what is answered here, and never by an upstream. */
    readonly own?: WhoamiHandler
  },
): Promise<DnsServer> {
  const { addresses, port, log, limits, own, allow = isMachine } = options
  const forward = forwardingHandler(options)
  const handler: DnsHandler = (query, client) => own?.(query, client) ?? forward(query, client)
  return startDnsServer({ addresses, port, log, limits, allow, handler })
}

export const isMachine = (address: string): boolean => {
  const ip = parseIp(address)
  return ip !== undefined && prefixContains(MACHINES, ip)
}

export function forwardingHandler(
  options: ForwarderOptions,
): (query: Message, client: DnsClient) => Promise<Message> {
  const forwarder = new Forwarder(options)
  return (query, { address }) => forwarder.answer(query, address)
}

class Forwarder {
  readonly #options: ForwarderOptions
  readonly #cache: AnswerCache
  /** Equal questions share one query; many at once would make forged answers likelier to match. */
  readonly #asking = new Map<string, Promise<Message>>()
  readonly #activeOf = new Map<string, number>()
  /** Where the last answer came from. */
  #preferred = 0

  constructor(options: ForwarderOptions) {
    this.#options = options
    this.#cache = new AnswerCache(options.clock ?? systemClock)
  }

  async answer(query: Message, client: string): Promise<Message> {
    const question = query.questions[0]!
    const name = canonicalName(question.name)
    const local = LOCAL_ZONES.find((zone) => isWithin(name, zone))
    if (local !== undefined) return negative(query, local, RCODE.NXDOMAIN)
    const ask: Ask = {
      question: { ...question, name },
      dnssecOk: query.edns?.dnssecOk ?? false,
      checkingDisabled: query.checkingDisabled,
    }
    const key = `${ask.dnssecOk} ${ask.checkingDisabled} ${question.type} ${name}`
    const cached = this.#cache.get(key)
    if (cached) return reply(query, cached)
    const active = this.#activeOf.get(client) ?? 0
    const { activeMax = ACTIVE_MAX, activePerClientMax = ACTIVE_PER_CLIENT_MAX } = this.#options
    if (active >= activePerClientMax) return respond(query, { rcode: RCODE.REFUSED })
    if (this.#asking.size >= activeMax && !this.#asking.has(key))
      return respond(query, { rcode: RCODE.REFUSED })
    this.#activeOf.set(client, active + 1)
    try {
      return reply(query, await this.#shared(key, ask))
    } finally {
      const rest = this.#activeOf.get(client)! - 1
      if (rest > 0) this.#activeOf.set(client, rest)
      else this.#activeOf.delete(client)
    }
  }

  #shared(key: string, ask: Ask): Promise<Message> {
    const known = this.#asking.get(key)
    if (known) return known
    const asking = this.#ask(ask).then((message) => {
      this.#cache.put(key, message)
      return message
    })
    this.#asking.set(key, asking)
    const done = () => this.#asking.delete(key)
    asking.then(done, done)
    return asking
  }

  /** The first answer that says something; else the last that does not; else an error. */
  async #ask(ask: Ask): Promise<Message> {
    const { upstreams, tryMs = TRY_MS, log } = this.#options
    let unhelpful: Message | undefined
    let reason = 'no upstream is configured'
    const first = this.#preferred
    for (let i = 0; i < TRIES_MAX && upstreams.length > 0; i++) {
      const at = (first + i) % upstreams.length
      try {
        const answer = await exchange(upstreams[at]!, ask, tryMs)
        if (answer.rcode === RCODE.NOERROR || answer.rcode === RCODE.NXDOMAIN) {
          this.#preferred = at
          return answer
        }
        unhelpful = answer
        // Every other resolver has been heard; asking again would change nothing.
        if (i >= upstreams.length - 1) break
      } catch (error) {
        reason = messageOf(error)
      }
      this.#preferred = (at + 1) % upstreams.length
    }
    if (unhelpful) return unhelpful
    log.warn({ reason }, 'no resolver answers')
    throw new Error(reason)
  }
}

/** An upstream's answer as ours: it vouches for nothing, and EDNS is between two neighbours. */
const reply = (query: Message, answer: Message): Message =>
  respond(query, {
    recursionAvailable: true,
    rcode: answer.rcode > 15 ? RCODE.SERVFAIL : answer.rcode,
    answers: answer.answers,
    authorities: answer.authorities,
    additionals: answer.additionals,
  })
