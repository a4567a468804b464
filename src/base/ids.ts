import { randomBytes } from 'node:crypto'

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** 14 hexadecimal digits, the shape of a machine id. */
export const machineId = (): string => randomBytes(7).toString('hex')

/** ULID: 48 bits of milliseconds, 80 random bits, in Crockford's base 32 (26 characters). */
export function ulid(nowMs: number): string {
  let time = ''
  for (let t = nowMs, i = 0; i < 10; i++, t = Math.floor(t / 32)) time = CROCKFORD[t % 32] + time
  let random = ''
  for (const byte of randomBytes(16)) random += CROCKFORD[byte & 31]
  return time + random
}

/** A 31-bit positive number, for the numeric ids that some clients insist on. */
export const numericId = (): number => randomBytes(4).readUInt32BE() >>> 1

const ADJECTIVES =
  'amber bold calm dawn early fair gentle hidden icy jade keen lively misty noble old proud quiet rapid silent tidal'.split(
    ' ',
  )
const NOUNS =
  'anchor bay cove delta eddy fjord gulf harbor inlet jetty keel lagoon mast narrows oar pier quay reef sound tide'.split(
    ' ',
  )

/** A readable machine name such as `tidal-cove-4821`. */
export function machineName(): string {
  const bytes = randomBytes(4)
  const pick = (list: string[], n: number) => list[n % list.length]
  return `${pick(ADJECTIVES, bytes[0]!)}-${pick(NOUNS, bytes[1]!)}-${bytes.readUInt16BE(2) % 10_000}`
}
