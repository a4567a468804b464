import { canonicalIp } from '../../base/ip.ts'

/** One flow of the kernel's connection tracking: TCP or UDP, as its first packet was seen. */
export interface FlowEntry {
  readonly proto: 'tcp' | 'udp'
  /** TCP's state as the kernel names it; '' for UDP, and where an event has none. */
  readonly state: string
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly destinationPort: number
  /** What answers are sent to: the source on the wire. */
  readonly translated: string
  readonly translatedPort: number
  /** Both directions; null where the kernel does not count. */
  readonly bytesOut: number | null
  readonly bytesIn: number | null
}

/**
 * The text of an entry in /proc/net/nf_conntrack, in `conntrack -L`, and (after its kind) in
 * `conntrack -E`. Addresses stay as they are written: see `addressForms`.
 */
const ENTRY =
  /^(?:ipv[46] +\d+ +)?(tcp|udp) +\d+ (?:\d+ )?(?:([A-Z][A-Z0-9_]*) )?src=([0-9a-f.:]{2,45}) dst=([0-9a-f.:]{2,45}) sport=(\d{1,5}) dport=(\d{1,5}) (?:packets=\d+ bytes=(\d{1,16}) )?(?:\[UNREPLIED\] )?src=[0-9a-f.:]{2,45} dst=([0-9a-f.:]{2,45}) sport=\d{1,5} dport=(\d{1,5})(?: packets=\d+ bytes=(\d{1,16}))?(?: |$)/

/** Undefined for other protocols, and for whatever is no entry. */
export function parseEntry(line: string): FlowEntry | undefined {
  const found = ENTRY.exec(line)
  if (!found) return undefined
  const [sourcePort, destinationPort, translatedPort] = [found[5], found[6], found[9]].map(Number)
  if (sourcePort! > PORT_MAX || destinationPort! > PORT_MAX || translatedPort! > PORT_MAX)
    return undefined
  return {
    proto: found[1] as 'tcp' | 'udp',
    state: found[2] ?? '',
    source: found[3]!,
    sourcePort: sourcePort!,
    destination: found[4]!,
    destinationPort: destinationPort!,
    translated: found[8]!,
    translatedPort: translatedPort!,
    bytesOut: found[7] === undefined ? null : Number(found[7]),
    bytesIn: found[10] === undefined ? null : Number(found[10]),
  }
}
const PORT_MAX = 65_535

/** The connection is over; the entry only waits for late packets, and the port can be used again. */
export const lingers = ({ state }: FlowEntry): boolean => state === 'TIME_WAIT' || state === 'CLOSE'

/** The text of the first address of an entry, without reading the rest; '' when there is none. */
export function sourceOf(line: string): string {
  const at = line.indexOf(' src=')
  if (at < 0) return ''
  const end = line.indexOf(' ', at + SRC)
  return end < 0 ? '' : line.slice(at + SRC, end)
}
const SRC = ' src='.length

/** Every text by which the kernel's tools write an address: /proc writes IPv6 with all its zeros. */
export function addressForms(address: string): string[] {
  const canonical = canonicalIp(address)
  if (canonical === undefined) return []
  if (!canonical.includes(':')) return [canonical]
  const [head = '', tail] = canonical.split('::')
  const [left, right] = [head, tail ?? ''].map((part) => (part === '' ? [] : part.split(':')))
  const zeros = Array<string>(8 - left!.length - right!.length).fill('0')
  const groups = [...left!, ...(tail === undefined ? [] : zeros), ...right!]
  return [canonical, groups.map((group) => group.padStart(4, '0')).join(':')]
}
