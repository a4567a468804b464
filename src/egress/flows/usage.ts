import { isoTime } from '../../base/clock.ts'
import { addressAt, canonicalIp, parseIp } from '../../base/ip.ts'
import { EGRESS_SLOT_PORTS, type MachineEgress } from '../../model/resources.ts'
import {
  EGRESS_DESTINATIONS_MAX,
  type EgressDestination,
  type EgressUsage,
} from '../../model/wire.ts'
import { addressForms, type FlowEntry, lingers, parseEntry, sourceOf } from './entry.ts'

/** Counts of ports in use, from looks at the kernel's connection tracking. No kernel in here. */

export interface StaticMachine {
  readonly id: string
  readonly app: string
  /** Private addresses that it sends from. */
  readonly v4: string
  readonly v6: string
  readonly egress: MachineEgress
}

/** Destinations of a machine whose high-water marks are kept: the highest. */
export const PEAKS_MAX = 256

/** Ports that a block has to one destination: 1,024 a slot, but slot 0 has no port 0. */
export const portsOf = ({ slot, count }: Pick<MachineEgress, 'slot' | 'count'>): number =>
  count * EGRESS_SLOT_PORTS - (slot === 0 ? 1 : 0)

/** One look: the lines of the table go in, counts by machine and destination come out. */
export class UsageSample {
  readonly tallies: ReadonlyMap<string, Tally>
  /** Every text of every address that a machine sends from. */
  readonly #bySource = new Map<string, Tally>()
  /** All entries, also those of nobody here. */
  entries = 0

  constructor(machines: Iterable<StaticMachine>) {
    const tallies = new Map<string, Tally>()
    for (const machine of machines) {
      const tally = new Tally(machine)
      tallies.set(machine.id, tally)
      for (const form of sourceForms(machine)) this.#bySource.set(form, tally)
    }
    this.tallies = tallies
  }

  line(text: string): void {
    this.entries += 1
    const tally = this.#bySource.get(sourceOf(text))
    if (!tally) return
    const entry = parseEntry(text)
    if (entry) tally.add(entry)
  }
}

/** Every text of the addresses that a machine sends from; the one after its own is fly-global-services. */
export function sourceForms({ v4, v6 }: Pick<StaticMachine, 'v4' | 'v6'>): string[] {
  const first = parseIp(v4)
  const services =
    first?.family === 4 ? [addressAt({ family: 4, bits: first.bits + 1n, length: 32 }, 0n)] : []
  return [v4, ...services, v6].flatMap(addressForms)
}

class Tally {
  readonly machine: StaticMachine
  readonly destinations = new Map<string, number>()
  total = 0
  elsewhere = 0
  readonly #sources: ReadonlySet<string>

  constructor(machine: StaticMachine) {
    this.machine = machine
    const { v4, v6 } = machine.egress
    this.#sources = new Set([v4, v6].flatMap((address) => (address ? addressForms(address) : [])))
  }

  add(entry: FlowEntry): void {
    if (lingers(entry)) return
    if (!this.#sources.has(entry.translated)) {
      // One that was not translated stays within the platform.
      if (entry.translated !== entry.source) this.elsewhere += 1
      return
    }
    this.total += 1
    const key = `${entry.proto} ${entry.destinationPort} ${entry.destination}`
    this.destinations.set(key, (this.destinations.get(key) ?? 0) + 1)
  }
}

/** What the kernel counted of one machine. */
export interface KernelCounts {
  readonly dropped: Readonly<Record<string, number>>
  /** Connections that took the last port to their destination. */
  readonly full: number
}

interface Book {
  machine: StaticMachine
  total: number
  elsewhere: number
  inUse: ReadonlyMap<string, number>
  readonly peaks: Map<string, number>
  peak: number
  exhausted: number
  /** Destinations that had no port left at the last look. */
  full: ReadonlySet<string>
}

/** What looks have shown since the start: the last one, and high-water marks. */
export class UsageBook {
  readonly #books = new Map<string, Book>()
  #sampledAtMs = 0
  #entries = 0

  get sampledAtMs(): number {
    return this.#sampledAtMs
  }

  /** Entries of the whole table at the last look. */
  get entries(): number {
    return this.#entries
  }

  /** Machines that are not in the sample are forgotten, with their marks. */
  take(sample: UsageSample, nowMs: number): void {
    this.#sampledAtMs = nowMs
    this.#entries = sample.entries
    for (const id of this.#books.keys()) if (!sample.tallies.has(id)) this.#books.delete(id)
    for (const [id, tally] of sample.tallies) {
      const book = this.#books.get(id) ?? newBook(tally.machine)
      this.#books.set(id, book)
      merge(book, tally)
    }
  }

  /** Of the machines of one app, or of all. */
  usage(
    where: { readonly host: string; readonly region: string; readonly app?: string },
    counted: (machine: StaticMachine) => KernelCounts = () => ({ dropped: {}, full: 0 }),
  ): EgressUsage[] {
    const { host, region, app } = where
    const sampledAt = isoTime(this.#sampledAtMs)
    return [...this.#books.values()]
      .filter(({ machine }) => app === undefined || machine.app === app)
      .map((book) => ({ book, ...counted(book.machine) }))
      .map(({ book, dropped, full }) => ({
        ...{ machine: book.machine.id, app: book.machine.app, host, region },
        ...book.machine.egress,
        ports: portsOf(book.machine.egress),
        ...{ total: book.total, elsewhere: book.elsewhere },
        inUse: highest(book.inUse),
        peak: book.peak,
        destinations: busiest(book),
        destinationCount: book.inUse.size,
        // Between two looks only the kernel sees a block that is full.
        exhausted: Math.max(book.exhausted, full),
        dropped,
        sampledAt,
      }))
  }
}

const newBook = (machine: StaticMachine): Book => ({
  ...{ machine, total: 0, elsewhere: 0, inUse: new Map(), peaks: new Map() },
  ...{ peak: 0, exhausted: 0, full: new Set() },
})

function merge(book: Book, { machine, total, elsewhere, destinations }: Tally): void {
  Object.assign(book, { machine, total, elsewhere, inUse: destinations })
  const ports = portsOf(machine.egress)
  const full = new Set<string>()
  for (const [key, inUse] of destinations) {
    if (inUse >= ports) full.add(key)
    book.peak = Math.max(book.peak, inUse)
  }
  for (const key of full) if (!book.full.has(key)) book.exhausted += 1
  book.full = full
  keepPeaks(book.peaks, destinations)
}

function keepPeaks(peaks: Map<string, number>, now: ReadonlyMap<string, number>): void {
  for (const [key, inUse] of now) if (inUse > (peaks.get(key) ?? 0)) peaks.set(key, inUse)
  if (peaks.size <= PEAKS_MAX) return
  const least = [...peaks].sort(([, a], [, b]) => a - b).slice(0, peaks.size - PEAKS_MAX)
  for (const [key] of least) peaks.delete(key)
}

const highest = (counts: ReadonlyMap<string, number>): number => {
  let most = 0
  for (const count of counts.values()) most = Math.max(most, count)
  return most
}

/** Destinations in use now before those that only were; the higher first. */
function busiest({ inUse, peaks }: Book): EgressDestination[] {
  const rows = [...new Set([...inUse.keys(), ...peaks.keys()])].map((key) => {
    const now = inUse.get(key) ?? 0
    return { key, inUse: now, peak: Math.max(now, peaks.get(key) ?? 0) }
  })
  rows.sort((a, b) => b.inUse - a.inUse || b.peak - a.peak)
  return rows.slice(0, EGRESS_DESTINATIONS_MAX).map(({ key, ...counts }) => {
    const [proto = '', port = '', address = ''] = key.split(' ')
    return {
      address: canonicalIp(address) ?? address,
      port: Number(port),
      proto: proto as 'tcp' | 'udp',
      ...counts,
    }
  })
}
