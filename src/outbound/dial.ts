import type { Timed } from '../base/deadlines.ts'
import type { Destination } from '../model/destination.ts'
import type { OutboundContext } from './context.ts'
import { isValid } from './credentials.ts'
import type { OutboundUser, Sender, SourceState } from './directory.ts'
import { type Failure, type FailureCode, failure } from './errors.ts'
import {
  ADDRESSES_MAX,
  ATTEMPT_DELAY_MS,
  ATTEMPTS_MAX,
  DIAL_MS,
  RESOLUTION_DELAY_MS,
  SOURCE_SUSPECT_MS,
} from './limits.ts'
import type { Answer } from './names.ts'
import { hostPort } from './request-log.ts'
import { Upstream } from './upstream.ts'

export interface DialUser {
  onOpen(upstream: Upstream): void
  onFailed(failure: Failure): void
}

interface Attempt {
  readonly upstream: Upstream
  readonly source: SourceState | null
  open: boolean
}

/**
 * Opens one connection for a user: resolves, checks every address against the policy, and dials those
 * that pass, the families in turn, the next one when the last has not answered for ATTEMPT_DELAY_MS
 * (RFC 8305). What is dialled is the address that was checked; nobody resolves a second time.
 *
 * Attempts go through the proxy's addresses in turn. When one of those does not get through, the next
 * attempt uses the other.
 */
export class Dial implements Timed, Sender {
  deadline: number
  readonly #ctx: OutboundContext
  readonly #user: OutboundUser
  readonly #to: Destination
  readonly #owner: DialUser
  readonly #senders: Set<Sender>
  readonly #turn: number
  /** Allowed addresses by family, in the order of the answers. */
  readonly #found: { 4: string[]; 6: string[] } = { 4: [], 6: [] }
  /** Answers that are still to come. */
  #asked = 0
  #answeredNone: 'none' | 'failed' = 'none'
  /** Addresses that the policy took away. */
  #refused = 0
  readonly #tried = new Set<string>()
  /** Addresses that are there and refuse: another source would not change that. */
  readonly #closed = new Set<string>()
  readonly #attempts = new Set<Attempt>()
  #count = 0
  #lastFamily: 4 | 6 = 4
  #last: FailureCode | null = null
  #timer: NodeJS.Timeout | null = null
  #ended = false
  /** The connection counts for the credential, and an open one goes on to. */
  #counted = false

  constructor(ctx: OutboundContext, user: OutboundUser, to: Destination, owner: DialUser) {
    this.#ctx = ctx
    this.#user = user
    this.#to = to
    this.#owner = owner
    this.#senders = user.served.senders
    this.#turn = ctx.turn++
    this.deadline = ctx.deadlines.now + DIAL_MS
  }

  start(): void {
    const { sources, policy } = this.#user.served
    const refused = this.#enter()
    if (refused) {
      this.#ended = true
      this.#owner.onFailed(refused)
      return
    }
    this.#counted = true
    this.#senders.add(this)
    this.#ctx.deadlines.add(this)
    if (sources?.length === 0) this.#fail('no_source')
    else if (!policy.mayAsk(this.#to)) this.#fail('destination_refused')
    else if (this.#to.family !== 0)
      this.#answer({ family: this.#to.family, addresses: [this.#to.host], failed: false })
    else {
      this.#asked = 2
      // RFC 8305, section 3: AAAA first, so that its answer can be used first.
      this.#ctx.names.ask(this.#to.host, 6, (answer) => this.#answered(answer))
      this.#ctx.names.ask(this.#to.host, 4, (answer) => this.#answered(answer))
    }
  }

  /** A credential may have ended since it was shown. */
  #enter(): Failure | null {
    const { meter, now } = this.#ctx
    if (isValid(this.#user, now())) return meter.enter(this.#user)
    return failure('credentials_refused', explain('credentials_refused', this.#to))
  }

  breakOff(): void {
    this.#fail('credentials_refused')
  }

  /** Nobody wants it any more. */
  cancel(): void {
    this.#end()
  }

  onDeadline(): void {
    this.#fail('connect_timeout')
  }

  #answered(answer: Answer): void {
    if (this.#ended) return
    this.#asked--
    this.#answer(answer)
  }

  #answer({ family, addresses, failed }: Answer): void {
    if (failed) this.#answeredNone = 'failed'
    const { policy } = this.#user.served
    for (const address of addresses)
      if (policy.mayDial(this.#to, address, family)) {
        if (this.#found[family].length < ADDRESSES_MAX) this.#found[family].push(address)
      } else this.#refused++
    if (this.#attempts.size > 0) return
    if (this.#asked > 0 && this.#found[6].length === 0) {
      if (this.#found[4].length > 0) this.#after(RESOLUTION_DELAY_MS)
      return
    }
    this.#next()
  }

  /** Begins the next attempt; when there is none, and none on its way, that is the end. */
  #next(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    const candidate = this.#count < ATTEMPTS_MAX ? this.#candidate() : null
    if (candidate) this.#try(candidate)
    else if (this.#attempts.size === 0 && this.#asked === 0) this.#fail(this.#reason())
  }

  /** Families in turn; each address once from one of ours, then once from the other. */
  #candidate(): { address: string; family: 4 | 6; source: SourceState | null } | null {
    const other = this.#lastFamily === 6 ? 4 : 6
    for (let round = 0; round < 2; round++)
      for (const family of [other, this.#lastFamily] as const) {
        const sources = this.#sources(family)
        for (const address of this.#found[family]) {
          if (this.#closed.has(address)) continue
          const source = sources[(round + this.#count) % sources.length]
          for (const candidate of round === 0 ? [source] : sources) {
            if (candidate === undefined) continue
            const key = `${address} ${candidate?.pair}`
            const fresh = round > 0 || !this.#wasTried(address, sources)
            if (fresh && !this.#tried.has(key)) {
              this.#tried.add(key)
              return { address, family, source: candidate }
            }
          }
        }
      }
    return null
  }

  #wasTried(address: string, sources: readonly (SourceState | null)[]): boolean {
    return sources.some((source) => this.#tried.has(`${address} ${source?.pair}`))
  }

  /** Sources that have this family, the one whose turn it is first, suspects last. */
  #sources(family: 4 | 6): readonly (SourceState | null)[] {
    const all = this.#user.served.sources
    if (all === null) return HOSTS_OWN
    const usable = all.filter((source) => (family === 4 ? source.v4 : source.v6) !== null)
    const turned = usable.map((_, i) => usable[(i + this.#turn) % usable.length]!)
    const { now } = this.#ctx.deadlines
    const suspect = (source: SourceState) => source.suspectUntil > now
    if (!turned.some(suspect)) return turned
    return [...turned.filter((s) => !suspect(s)), ...turned.filter(suspect)]
  }

  #try(to: { address: string; family: 4 | 6; source: SourceState | null }): void {
    this.#count++
    this.#lastFamily = to.family
    this.#ctx.counters.dials++
    const { address, family, source } = to
    const upstream = new Upstream(this.#ctx, { address, family, port: this.#to.port }, source, () =>
      this.#onConnect(attempt),
    )
    const attempt: Attempt = { upstream, source, open: false }
    this.#attempts.add(attempt)
    upstream.user = {
      onUpstreamData() {},
      onUpstreamEnd() {},
      onUpstreamDrain() {},
      onUpstreamClose: (error) => this.#onClose(attempt, error),
    }
    if (this.#count < ATTEMPTS_MAX) this.#after(ATTEMPT_DELAY_MS)
  }

  #after(ms: number): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#next(), ms)
  }

  #onConnect(attempt: Attempt): void {
    if (this.#ended) return
    this.#attempts.delete(attempt)
    this.#judge(attempt)
    const { upstream } = attempt
    upstream.user = null
    this.#senders.add(upstream)
    upstream.release = () => {
      this.#senders.delete(upstream)
      this.#ctx.meter.leave(this.#user)
    }
    this.#counted = false
    this.#end()
    this.#owner.onOpen(upstream)
  }

  /** Others that began before and are still silent point at their source, not at the destination. */
  #judge(winner: Attempt): void {
    if (winner.source) winner.source.suspectUntil = 0
    for (const { upstream, source } of this.#attempts)
      if (source && source !== winner.source && upstream.address === winner.upstream.address) {
        source.suspectUntil = this.#ctx.deadlines.now + SOURCE_SUSPECT_MS
        this.#ctx.counters.failovers++
      }
  }

  #onClose(attempt: Attempt, error: NodeJS.ErrnoException | null): void {
    if (this.#ended) return
    this.#attempts.delete(attempt)
    this.#last = codeOf(error)
    if (this.#last === 'connect_refused') this.#closed.add(attempt.upstream.address)
    this.#next()
  }

  #reason(): FailureCode {
    if (this.#last !== null) return this.#last
    if (this.#found[4].length + this.#found[6].length > 0) return 'no_source'
    if (this.#refused > 0) return 'destination_refused'
    return this.#answeredNone === 'failed' ? 'name_failed' : 'name_not_found'
  }

  #fail(code: FailureCode): void {
    if (this.#ended) return
    this.#end()
    this.#owner.onFailed(failure(code, explain(code, this.#to)))
  }

  #end(): void {
    this.#ended = true
    if (this.#counted) this.#ctx.meter.leave(this.#user)
    this.#counted = false
    this.#senders.delete(this)
    if (this.#timer) clearTimeout(this.#timer)
    this.#ctx.deadlines.delete(this)
    for (const { upstream } of this.#attempts) upstream.destroy()
    this.#attempts.clear()
  }
}

const HOSTS_OWN: readonly null[] = [null]

function codeOf(error: NodeJS.ErrnoException | null): FailureCode {
  switch (error?.code) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'connect_refused'
    case 'ETIMEDOUT':
      return 'connect_timeout'
    case 'EADDRNOTAVAIL':
      return 'source_exhausted'
    default:
      return 'unreachable'
  }
}

function explain(code: FailureCode, to: Destination): string {
  const where = `destination ${hostPort(to)}`
  switch (code) {
    case 'credentials_refused':
      return `${where}: the credentials have ended meanwhile; use the URL of the last "fairway outbound rotate"`
    case 'destination_refused':
      return `${where}: not allowed; private, loopback and metadata addresses are refused, and so is what an allow-list does not name: ask the proxy's owner to allow it`
    case 'name_not_found':
      return `${where}: the name does not exist or has no address; check its spelling`
    case 'name_failed':
      return `${where}: the name's servers did not answer; try again`
    case 'connect_refused':
      return `${where}: the connection was refused; check that it listens there and admits the proxy's addresses`
    case 'connect_timeout':
      return `${where}: no answer within ${DIAL_MS / 1_000} s; check that it is up and admits the proxy's addresses`
    case 'source_exhausted':
      return `${where}: every port of the proxy's addresses is in use towards it; close connections, or create another proxy`
    case 'no_source':
      return `${where}: the proxy has no address of the destination's family in use; see its pairs with "fairway outbound show"`
    default:
      return `${where}: no way there; check the address`
  }
}
