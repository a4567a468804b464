import { FairwayError, messageOf, notFound } from '../../base/errors.ts'
import { canonicalIp, parseIp, parsePrefix, prefixContains } from '../../base/ip.ts'
import { CommandError, type Exec } from '../../kernel/exec.ts'
import type { MachineEgress } from '../../model/resources.ts'
import type {
  AgentCall,
  EgressCheck,
  EgressCheckReason,
  EgressCheckResult,
} from '../../model/wire.ts'
import { parseEntry } from '../flows/entry.ts'
import { connectFrom, type FamilyOutcome } from './connect.ts'

export type CheckCall = Extract<AgentCall, { method: 'egress-check' }>

export interface CheckDeps {
  readonly exec: Exec
  readonly host: string
  readonly region: string
  /** Undefined when no such machine runs here. */
  readonly machine: (
    id: string,
  ) => { readonly netns: string; readonly egress: MachineEgress | null } | undefined
  /** Name servers of the machines. */
  readonly resolvers: readonly string[]
  /** `ip.<domain>` of each is the echo service. */
  readonly appsDomains: readonly string[]
  /** Where the host itself connects to for nobody. */
  readonly protectedPrefixes: readonly string[]
}

export const CHECKS_MAX = 8
export const CHECK_TIMEOUT_MS = { min: 100, max: 10_000 } as const
const ECHO_PORT = 80
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

/** Connections of machines to a destination of somebody's choice, to see by which source they leave. */
export class EgressChecks {
  readonly #deps: CheckDeps
  #active = 0

  constructor(deps: CheckDeps) {
    this.#deps = deps
  }

  /**
   * What went wrong with a connection is in the result. Throws `invalid` for what is no destination,
   * `not_found` when the machine does not run here, `busy` when CHECKS_MAX are under way.
   */
  async check(call: CheckCall): Promise<EgressCheck> {
    const { host, port, timeoutMs } = checkCall(call)
    const machine = this.#deps.machine(call.machine)
    if (!machine) throw notFound(`machine ${call.machine} does not run on host ${this.#deps.host}`)
    if (this.#active >= CHECKS_MAX) {
      const message = `${CHECKS_MAX} egress checks are under way on host ${this.#deps.host}; try again`
      throw new FairwayError('busy', message, { status: 429 })
    }
    this.#active += 1
    try {
      const results = await this.#results(machine, host, port, timeoutMs)
      const { region, host: checkHost } = this.#deps
      return { machine: call.machine, region, checkHost, results }
    } finally {
      this.#active -= 1
    }
  }

  async #results(
    { netns, egress }: { netns: string; egress: MachineEgress | null },
    host: string,
    port: number,
    timeoutMs: number,
  ): Promise<EgressCheckResult[]> {
    const { exec, resolvers } = this.#deps
    const echoHost = this.#isEcho(host, port) ? host : null
    const request = { host, port, resolvers, timeoutMs, echoHost }
    const own = await connectFrom(exec, netns, { ...request, addresses: null })
    // At once: the kernel does not remember for long.
    const wires = await Promise.all(own.families.map((found) => this.#onTheWire(found, port)))
    const defaults = await this.#byDefault(own.families, port, timeoutMs)
    return own.families.map((outcome, i): EgressCheckResult => {
      const { family, remote, connectMs, seen, error } = outcome
      const wire = wires[i]
      const expected = egress && (family === 4 ? egress.v4 : egress.v6)
      const seenByFarEnd = seen && (canonicalIp(seen) ?? seen)
      return {
        ...{ family, remote, connectMs, seenByFarEnd, expected },
        source: wire?.address ?? null,
        sourcePort: wire?.port ?? null,
        ok: expected === null ? null : isAsExpected(expected, wire?.address, seenByFarEnd),
        connectDefaultMs: defaults.get(family) ?? null,
        error: error && {
          reason: reasonOf(error.code),
          message: textOf(error, { host, port, family, remote }),
        },
      }
    })
  }

  #isEcho(host: string, port: number): boolean {
    const name = host.toLowerCase().replace(/\.$/, '')
    return port === ECHO_PORT && this.#deps.appsDomains.some((domain) => name === `ip.${domain}`)
  }

  /**
   * The same from the host's own namespace, to compare. Only to what the machine itself has reached,
   * and to nothing private: a check must not be a way into the host's network.
   */
  async #byDefault(
    families: readonly FamilyOutcome[],
    port: number,
    timeoutMs: number,
  ): Promise<Map<4 | 6, number>> {
    const addresses = families.flatMap(({ family, remote, connectMs }) =>
      remote !== null && connectMs !== null && this.#isPublic(remote)
        ? [[family, remote] as const]
        : [],
    )
    if (addresses.length === 0) return new Map()
    const request = { host: '', port, addresses, resolvers: [], timeoutMs, echoHost: null }
    const { families: found } = await connectFrom(this.#deps.exec, null, request)
    return new Map(
      found.flatMap(({ family, connectMs }) => (connectMs === null ? [] : [[family, connectMs]])),
    )
  }

  #isPublic(address: string): boolean {
    const ip = parseIp(address)
    if (!ip || (ip.family === 6 && !prefixContains(GLOBAL_V6, ip))) return false
    const closed = [...NEVER_OUTSIDE, ...this.#deps.protectedPrefixes]
    return !closed.some((text) => prefixContains(parsePrefix(text)!, ip))
  }

  /** The translated source of the connection, as the kernel remembers it after its end. */
  async #onTheWire(
    { remote, localAddress, localPort }: FamilyOutcome,
    port: number,
  ): Promise<{ address: string; port: number } | undefined> {
    if (remote === null || localAddress === null || localPort === null) return undefined
    const ends = ['-s', localAddress, '-d', remote, '--sport', `${localPort}`, '--dport', `${port}`]
    const argv = ['conntrack', '-G', '-p', 'tcp', ...ends]
    try {
      const entry = parseEntry((await this.#deps.exec.run(argv)).split('\n')[0]!)
      if (!entry) return undefined
      return { address: canonicalIp(entry.translated) ?? '', port: entry.translatedPort }
    } catch (error) {
      if (error instanceof CommandError && error.exitCode !== null) return undefined
      throw new FairwayError('check_failed', `conntrack cannot be asked: ${messageOf(error)}`)
    }
  }
}

const GLOBAL_V6 = parsePrefix('2000::/3')!
const NEVER_OUTSIDE = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16'],
  ...['172.16.0.0/12', '192.168.0.0/16', '224.0.0.0/3'],
]

function checkCall({ host, port, timeoutMs }: CheckCall): CheckCall {
  if (typeof host !== 'string' || !(parseIp(host) || HOST_NAME.test(host)))
    throw invalidField('host', host, 'a name or an address')
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw invalidField('port', port, '1 to 65535')
  const { min, max } = CHECK_TIMEOUT_MS
  if (!Number.isInteger(timeoutMs) || timeoutMs < min || timeoutMs > max)
    throw invalidField('timeoutMs', timeoutMs, `${min} to ${max}`)
  return { method: 'egress-check', machine: '', host, port, timeoutMs }
}

const invalidField = (field: string, value: unknown, allowed: string) =>
  new FairwayError(
    'invalid',
    `egress check: ${field} ${String(value).slice(0, 64)} is not ${allowed}`,
  )

const isAsExpected = (expected: string, source: string | undefined, seen: string | null): boolean =>
  source === expected && (seen === null || seen === expected)

const REASONS: Readonly<Record<string, EgressCheckReason>> = {
  ENODATA: 'no_address',
  ENOTFOUND: 'name',
  ESERVFAIL: 'name',
  EREFUSED: 'name',
  ECONNREFUSED: 'refused',
  ETIMEDOUT: 'timeout',
  ETIMEOUT: 'timeout',
  EADDRNOTAVAIL: 'block_full',
  ENETUNREACH: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  EACCES: 'unreachable',
  EPERM: 'unreachable',
  ECONNRESET: 'reset',
}
const reasonOf = (code: string): EgressCheckReason => REASONS[code] ?? 'failed'

interface Tried {
  readonly host: string
  readonly port: number
  readonly family: 4 | 6
  readonly remote: string | null
}

/** In words for whoever asks why a partner is not reached. */
export function textOf({ code, message }: { code: string; message: string }, to: Tried): string {
  const { host, port, family } = to
  const remote = to.remote === null ? host : family === 6 ? `[${to.remote}]` : to.remote
  switch (reasonOf(code)) {
    case 'no_address':
      return `${host} has no IPv${family} address`
    case 'block_full':
      return `every port of the machine's block is in use to this destination (${code}); close connections, or give the machine more blocks`
    case 'name':
      return `the name ${host} cannot be resolved (${code})`
    case 'timeout':
      return `${remote} port ${port}: no answer in time; it is down, or drops what it does not admit`
    case 'refused':
      return `${remote} port ${port}: refused (${code}); nothing listens there, or a firewall refuses this source`
    case 'unreachable':
      return `${remote} port ${port}: no way there over IPv${family} (${code}); the machine has no address of that family in force, or the network ahead has no route`
    case 'reset':
      return `${remote} port ${port}: reset (${code}) before it was open; a firewall, or the far end`
    default:
      return `${remote} port ${port}: ${message}`
  }
}
