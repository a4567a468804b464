import { isIP, isIPv4 } from 'node:net'

/** An address as a number, with the family that says how many bits it has. */
export interface IpValue {
  readonly family: 4 | 6
  readonly bits: bigint
}

export interface Prefix {
  readonly family: 4 | 6
  /** The network address; bits after `length` are zero. */
  readonly bits: bigint
  readonly length: number
}

const WIDTH = { 4: 32, 6: 128 } as const

/** Parses an IPv4 or IPv6 address without zone or mask. `undefined` when it is neither. */
export function parseIp(text: string): IpValue | undefined {
  if (text.includes('%')) return undefined
  const family = isIP(text)
  if (family === 4) return { family, bits: bitsOf4(text) }
  if (family === 6) return { family, bits: bitsOf6(text) }
  return undefined
}

/** The one text form of an address (RFC 5952 for IPv6). */
export function formatIp(value: IpValue): string {
  return value.family === 4 ? text4(value.bits) : text6(value.bits)
}

/** The canonical text of an address, or `undefined` when it is not one. */
export function canonicalIp(text: string): string | undefined {
  const value = parseIp(text)
  return value && formatIp(value)
}

/**
 * The family and text of a socket's address: `::ffff:a.b.c.d`, as dual-stack sockets show
 * IPv4, becomes `a.b.c.d`. Meant for addresses that the kernel gave; anything else is unchanged.
 */
export const unmapped = (address: string): string =>
  address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address

export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/')
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash))
  if (!ip) return undefined
  const width = WIDTH[ip.family]
  const lengthText = slash < 0 ? String(width) : text.slice(slash + 1)
  if (!/^\d{1,3}$/.test(lengthText)) return undefined
  const length = Number(lengthText)
  if (length > width) return undefined
  const host = BigInt(width - length)
  return { family: ip.family, bits: (ip.bits >> host) << host, length }
}

export const formatPrefix = (p: Prefix): string => `${formatIp(p)}/${p.length}`

export function prefixContains(prefix: Prefix, ip: IpValue): boolean {
  if (prefix.family !== ip.family) return false
  const shift = BigInt(WIDTH[prefix.family] - prefix.length)
  return ip.bits >> shift === prefix.bits >> shift
}

/** How many addresses a prefix has. */
export const prefixSize = (p: Prefix): bigint => 1n << BigInt(WIDTH[p.family] - p.length)

/** The `index`-th address of a prefix. Throws when it lies outside. */
export function addressAt(prefix: Prefix, index: bigint): string {
  if (index < 0n || index >= prefixSize(prefix))
    throw new RangeError(`index ${index} outside ${formatPrefix(prefix)}`)
  return formatIp({ family: prefix.family, bits: prefix.bits + index })
}

function bitsOf4(text: string): bigint {
  return text.split('.').reduce((bits, octet) => (bits << 8n) | BigInt(octet), 0n)
}

function bitsOf6(text: string): bigint {
  let source = text
  const dot = source.lastIndexOf(':')
  if (source.includes('.')) {
    const v4 = bitsOf4(source.slice(dot + 1))
    source = `${source.slice(0, dot + 1)}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`
  }
  const [head = '', tail] = source.split('::')
  const left = head ? head.split(':') : []
  const right = tail ? tail.split(':') : []
  const groups =
    tail === undefined
      ? left
      : [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n)
}

function text4(bits: bigint): string {
  const n = Number(bits)
  return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`
}

function text6(bits: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((bits >> BigInt(112 - 16 * i)) & 0xffffn),
  )
  const run = longestZeroRun(groups)
  const hex = groups.map((g) => g.toString(16))
  if (run.length < 2) return hex.join(':')
  return `${hex.slice(0, run.start).join(':')}::${hex.slice(run.start + run.length).join(':')}`
}

/** RFC 5952 section 4.2.3: the longest run, the first of equals. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  for (let i = 0; i < groups.length; i++) {
    let j = i
    while (groups[j] === 0) j++
    if (j - i > best.length) best = { start: i, length: j - i }
    if (j > i) i = j
  }
  return best
}
