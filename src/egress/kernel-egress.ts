import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { canonicalIp, parseIp, parsePrefix, prefixContains } from '../base/ip.ts'
import type { Logger } from '../base/log.ts'
import { flushSource, listFlows } from '../kernel/conntrack.ts'
import type { Exec } from '../kernel/exec.ts'
import { listRoutes } from '../kernel/ip.ts'
import { applyRuleset, type NftSession } from '../kernel/nft.ts'
import { type Block, isBlockChain, portsOf } from './blocks.ts'
import type { DrainingBlock, EgressMachine, EgressTable, SlotOwner } from './egress-table.ts'
import {
  blocksOf,
  chainCommands,
  type Elements,
  elementsOf,
  ownerElements,
  planElements,
  planRepair,
  type Source,
  sameSource,
  sourcesOf,
} from './elements.ts'
import { wantedSources } from './machine-sources.ts'
import { observeElements } from './observe.ts'
import { EGRESS_TABLE, renderTable } from './ruleset.ts'
import { inspect, make, type StampedTable } from './stamp.ts'

export interface EgressTableDeps {
  readonly exec: Exec
  /** A session in the host's namespace. */
  readonly nft: NftSession
  readonly clock: Clock
  readonly log: Logger
  readonly wanDevice: string
  /** The host's own addresses: the source of default egress. */
  readonly hostV4: string
  readonly hostV6: string
  /** Where machines' own public IPv6 lies, the other source of default egress; null: there is none. */
  readonly publicPrefix6: string | null
}

export const createEgressTable = (deps: EgressTableDeps): EgressTable => new KernelEgress(deps)

/** The kernel is looked at so often, or less when a look takes long: at most 2 % of the time. */
const LOOK_INTERVAL_MS = 30_000
const LOOK_SHARE = 50
const RESTORE_ATTEMPTS_MAX = 3
/** Longer transactions go through a file. */
const LINE_CHARS_MAX = 256 * 1024
/** Where machines' private addresses lie. */
const PRIVATE = ['172.16.0.0/12', 'fdaa::/16']

/**
 * What is in memory is what the kernel was last told, so that a change costs what it changes. When
 * the kernel refuses a change it is not as it was left: then, and now and then, it is looked at.
 */
class KernelEgress implements EgressTable {
  readonly #deps: EgressTableDeps
  readonly #table: StampedTable
  readonly #closed = new AbortController()
  readonly #sources = new Map<string, Source>()
  /** Static addresses that may be sent from; undefined: nobody has said. */
  #held: ReadonlySet<string> | undefined
  #owners: Elements = new Map()
  /** Blocks whose chains are there, by the name of one of them. */
  #blocks: ReadonlyMap<string, Block> = new Map()
  /** What nft prints of blocks' chains that are right. */
  #chains: ReadonlyMap<string, string> = new Map()
  /** A change has failed: the kernel may have it or not. */
  #unsure = false
  #repairs = 0
  /** Changes of the kernel, one at a time. */
  #tail: Promise<unknown> = Promise.resolve()
  /** Connections of machines that went while nobody was here are forgotten after it. */
  #swept: Promise<void> = Promise.resolve()
  #looking: Promise<void> = Promise.resolve()

  constructor(deps: EgressTableDeps) {
    this.#deps = deps
    this.#table = {
      table: EGRESS_TABLE,
      body: renderTable(deps),
      changing: isBlockChain,
    }
  }

  get repairs(): number {
    return this.#repairs
  }

  start(): Promise<void> {
    return this.#serial(async () => {
      const { exec } = this.#deps
      const observed = await observeElements(exec)
      const [routes4, routes6] = await Promise.all([listRoutes(exec, 4), listRoutes(exec, 6)])
      const routed = new Set([...routes4, ...routes6].map(({ dst }) => canonicalIp(dst)))
      this.#sources.clear()
      for (const [address, source] of sourcesOf(observed))
        if (routed.has(address)) this.#sources.set(address, source)
      this.#owners = new Map([...observed].filter(([key]) => key.startsWith('owner')))
      await this.#restore()
      this.#swept = this.#sweep()
      this.#looking = this.#lookNowAndThen()
    })
  }

  async admit(machine: EgressMachine, { fresh = false } = {}): Promise<void> {
    const wanted = wantedSources(machine, this.#deps)
    if ([...wanted.keys()].some((address) => !this.#sources.has(address))) await this.#swept
    const stale = await this.#serial(async () => {
      const [changes, flush] = [new Map<string, Source>(), [] as string[]]
      for (const [address, asked] of wanted) {
        const source = this.#isReleased(asked) ? closed(asked) : asked
        const before = this.#sources.get(address)
        const same = sameSource(before, source)
        if (fresh && before && (!same || before.kept.length > 0)) flush.push(address)
        const kept = fresh ? [] : keptFrom(before, source)
        if (!same || kept.length !== before!.kept.length) changes.set(address, { ...source, kept })
      }
      await this.#change(changes)
      return flush
    })
    await this.#flush(stale)
  }

  async remove(addresses: Iterable<string>): Promise<void> {
    const gone = [...addresses].map((address) => canonicalIp(address) ?? address)
    await this.#serial(() => this.#change(new Map(gone.map((address) => [address, undefined]))))
    await this.#flush(gone)
  }

  steer(owners: Iterable<SlotOwner>): Promise<void> {
    const desired = ownerElements(owners)
    return this.#serial(async () => {
      const commands = planElements(desired, this.#owners)
      this.#owners = desired
      await this.#transact(commands)
    })
  }

  hold(addresses: Iterable<string>): void {
    this.#held = new Set([...addresses].map((address) => canonicalIp(address) ?? address))
  }

  async letGo(): Promise<void> {
    const ended = await this.#serial(async () => {
      const [changes, gone] = [new Map<string, Source>(), [] as (readonly [string, string])[]]
      for (const [address, source] of this.#sources) {
        const isReleased = this.#isReleased(source)
        const kept = source.kept.filter((other) => this.#isHeld(other) || this.#isDefault(other))
        if (!isReleased && kept.length === source.kept.length) continue
        changes.set(address, { ...(isReleased ? closed(source) : source), kept })
        const now = [isReleased ? null : source.address, ...kept]
        for (const other of [source.address, ...source.kept])
          if (other !== null && !now.includes(other)) gone.push([address, other])
      }
      await this.#change(changes)
      return gone
    })
    for (const [address, other] of ended) await flushSource(this.#deps.exec, address, other)
  }

  async drained<T extends DrainingBlock>(blocks: readonly T[]): Promise<T[]> {
    const { exec } = this.#deps
    // In turn: a change under way is in memory, but not in the kernel yet. From here on only flows that
    // are there already can use them.
    const left = await this.#serial(async () => blocks.filter((block) => !this.#isCurrent(block)))
    const addresses = new Set(left.flatMap(({ v4, v6 }) => [v4 ?? [], v6 ?? []].flat()))
    const ports = new Map<string, readonly number[]>()
    for (const answerTo of addresses)
      ports.set(
        answerTo,
        (await listFlows(exec, { answerTo })).map((flow) => flow.answerPort),
      )
    const isUsed = (address: string | null, block: Block) => {
      if (address === null) return false
      const { low, high } = portsOf(block)
      return ports.get(address)!.some((port) => port >= low && port <= high)
    }
    return left.filter(
      (block) => !isUsed(block.v4, block) && !isUsed(block.v6, block) && !this.#isCurrent(block),
    )
  }

  async look(): Promise<void> {
    if (await this.#serial(() => this.#restore())) this.#damaged('it was changed by others')
    await this.#retire()
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await Promise.all([this.#looking, this.#swept, this.#tail.catch(() => {})])
  }

  #isHeld(address: string): boolean {
    return this.#held?.has(address) ?? true
  }

  /** Whether its pair does not have the address any more: it may be somebody else's soon. */
  #isReleased({ address, block }: Source): boolean {
    return address !== null && block !== null && !this.#isHeld(address)
  }

  /** Of sources that machines had before it is not known any more whether they had a block. */
  #isDefault(address: string): boolean {
    const { hostV4, hostV6, publicPrefix6 } = this.#deps
    const [ip, prefix] = [
      parseIp(address),
      publicPrefix6 === null ? null : parsePrefix(publicPrefix6),
    ]
    if (ip && prefix && prefixContains(prefix, ip)) return true
    return [hostV4, hostV6].some((own) => canonicalIp(own) === address)
  }

  /** Whether a machine still begins flows from one of the block's ports. */
  #isCurrent({ v4, v6, slot, count }: DrainingBlock): boolean {
    for (const { address, block } of this.#sources.values())
      if (
        block &&
        (address === v4 || address === v6) &&
        block.slot < slot + count &&
        slot < block.slot + block.count
      )
        return true
    return false
  }

  /** Brings addresses to new sources, or to none, in one transaction. */
  async #change(changes: ReadonlyMap<string, Source | undefined>): Promise<void> {
    const [desired, observed] = [new Map<string, string>(), new Map<string, string>()]
    const before = new Map<string, Source | undefined>()
    for (const [address, source] of changes) {
      before.set(address, this.#sources.get(address))
      for (const [key, data] of elementsOf(address, this.#sources.get(address)))
        observed.set(key, data)
      for (const [key, data] of elementsOf(address, source)) desired.set(key, data)
    }
    const missing = [...blocksOf(desired)].filter(([name]) => !this.#blocks.has(name))
    const chains = chainCommands(missing.map(([, block]) => block))
    set(this.#sources, changes)
    try {
      await this.#transact([...chains, ...planElements(desired, observed)])
    } catch (error) {
      // Who asked asks again; until then nobody counts on it.
      set(this.#sources, before)
      throw error
    }
    this.#blocks = new Map([...this.#blocks, ...missing])
  }

  /** What is in memory is what is wanted already: a kernel that refuses is brought to that. */
  async #transact(commands: readonly string[]): Promise<void> {
    const { exec, nft } = this.#deps
    if (commands.length === 0 && !this.#unsure) return
    if (!this.#unsure)
      try {
        const line = commands.join('; ')
        if (line.length <= LINE_CHARS_MAX) await nft.transact(line)
        else await applyRuleset(exec, `${commands.join('\n')}\n`)
        return
      } catch (error) {
        this.#damaged(messageOf(error))
      }
    this.#unsure = true
    for (let attempt = 1; this.#unsure; attempt++)
      try {
        await this.#restore()
        this.#unsure = false
      } catch (error) {
        // Who changes it once may do so again.
        if (attempt === RESTORE_ATTEMPTS_MAX) throw error
      }
  }

  /** Compares all of it with the kernel, and puts in force what is not. True when it was not. */
  async #restore(): Promise<boolean> {
    const { exec } = this.#deps
    const desired = new Map(this.#owners)
    for (const [address, source] of this.#sources) set(desired, elementsOf(address, source))
    const blocks = blocksOf(desired)
    const { asMade, chains } = await inspect(exec, this.#table)
    const found = asMade
      ? planRepair(
          { elements: desired, blocks },
          { elements: await observeElements(exec), chains },
          this.#chains,
        )
      : undefined
    if (!found) {
      const elements = planElements(desired, new Map())
      await make(exec, this.#table, [...chainCommands(blocks.values()), ...elements])
    } else if (found.commands.length > 0) {
      await applyRuleset(exec, `${found.commands.join('\n')}\n`)
    }
    if (found?.commands.length !== 0) this.#chains = (await inspect(exec, this.#table)).chains
    this.#blocks = blocks
    return found?.isDamaged ?? true
  }

  #damaged(reason: string): void {
    this.#repairs += 1
    this.#deps.log.warn(
      { reason: reason.split('\n')[0] },
      'egress: the table was not as it was left; put in force again',
    )
  }

  async #lookNowAndThen(): Promise<void> {
    const { clock, log } = this.#deps
    let pauseMs = LOOK_INTERVAL_MS
    while (!this.#closed.signal.aborted) {
      await clock.sleep(pauseMs, this.#closed.signal).catch(() => {})
      if (this.#closed.signal.aborted) return
      const beganMs = performance.now()
      try {
        await this.look()
      } catch (error) {
        log.error({ reason: messageOf(error) }, 'egress: could not be looked at')
      }
      pauseMs = Math.max(LOOK_INTERVAL_MS, LOOK_SHARE * (performance.now() - beganMs))
    }
  }

  /** Sources that machines had before, and that no flow of theirs has any more. */
  async #retire(): Promise<void> {
    for (const [address, { kept }] of [...this.#sources]) {
      if (kept.length === 0) continue
      const flows = await listFlows(this.#deps.exec, { source: address })
      const used = new Set(flows.map(({ answerTo }) => answerTo))
      await this.#serial(async () => {
        const source = this.#sources.get(address)
        const still = source?.kept.filter((other) => used.has(other) || !kept.includes(other))
        if (!source || still!.length === source.kept.length) return
        await this.#change(new Map([[address, { ...source, kept: still! }]]))
      })
    }
  }

  /** Forgets translated flows of addresses that no machine has. */
  async #sweep(): Promise<void> {
    const { exec, log } = this.#deps
    try {
      const flows = await Promise.all(PRIVATE.map((source) => listFlows(exec, { source })))
      const orphans = flows
        .flat()
        .filter(({ source, answerTo }) => source !== answerTo && !this.#sources.has(source))
      await this.#flush(new Set(orphans.map(({ source }) => source)))
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'egress: flows of former machines are left to age')
    }
  }

  async #flush(addresses: Iterable<string>): Promise<void> {
    for (const address of addresses) await flushSource(this.#deps.exec, address)
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#tail.then(work, work)
    this.#tail = mine.catch(() => {})
    return mine
  }
}

const closed = ({ kept }: Source): Source => ({ address: null, block: null, kept })

/** The sources of flows that may still live: those before, and the one that it has now. */
function keptFrom(before: Source | undefined, source: Source): readonly string[] {
  if (!before) return []
  const all = before.address === null ? before.kept : [...before.kept, before.address]
  return [...new Set(all)].filter((other) => other !== source.address)
}

function set<V>(to: Map<string, V>, entries: Iterable<readonly [string, V | undefined]>): void {
  for (const [key, value] of entries) {
    if (value === undefined) to.delete(key)
    else to.set(key, value)
  }
}
