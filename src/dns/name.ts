/**
 * Domain names as text: labels joined by dots, no dot at the end, '' for the root. Bytes other than
 * letters, digits, `-`, `_` and the like stand as `\DDD`, a dot inside a label as `\.` (RFC 1035
 * section 5.1).
 */

/** RFC 1035 section 2.3.4. */
export const NAME_BYTES_MAX = 255
export const LABEL_BYTES_MAX = 63
/** A chain of compression pointers never needs more: each adds at least a label in sane messages. */
const POINTERS_MAX = 127

export class DnsFormatError extends Error {
  readonly code = 'dns_format'
  constructor(message: string) {
    super(message)
    this.name = 'DnsFormatError'
  }
}

/** Reads a name; `end` is the offset after it in the message. Pointers may only point backwards. */
export function readName(
  message: Uint8Array,
  offset: number,
): { readonly name: string; readonly end: number } {
  const labels: string[] = []
  let at = offset
  let end = -1
  let lowest = offset
  let bytes = 1
  let pointers = 0
  for (;;) {
    const length = message[at]
    if (length === undefined) throw new DnsFormatError('a name ends outside the message')
    if (length === 0) {
      if (end < 0) end = at + 1
      return { name: labels.join('.'), end }
    }
    if (length >= 0xc0) {
      const low = message[at + 1]
      if (low === undefined) throw new DnsFormatError('a name ends outside the message')
      const target = ((length & 0x3f) << 8) | low
      // Strictly downwards, so that no chain has a cycle.
      if (target >= lowest || ++pointers > POINTERS_MAX)
        throw new DnsFormatError('a compression pointer does not point backwards')
      if (end < 0) end = at + 2
      lowest = target
      at = target
      continue
    }
    if (length > LABEL_BYTES_MAX) throw new DnsFormatError('a label of an unknown kind')
    bytes += length + 1
    if (bytes > NAME_BYTES_MAX) throw new DnsFormatError('a name is longer than 255 bytes')
    if (at + 1 + length > message.length)
      throw new DnsFormatError('a name ends outside the message')
    labels.push(labelText(message, at + 1, length))
    at += length + 1
  }
}

/** The labels of a name as bytes. Throws on text that is no name. */
export function labelsOf(name: string): Uint8Array[] {
  if (name === '') return []
  const labels: Uint8Array[] = []
  let label: number[] = []
  let total = 1
  const close = () => {
    if (label.length === 0 || label.length > LABEL_BYTES_MAX)
      throw new DnsFormatError(`${name}: a label has ${label.length} bytes; 1 to 63 are allowed`)
    total += label.length + 1
    labels.push(Uint8Array.from(label))
    label = []
  }
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i)
    if (code === DOT) close()
    else if (code === BACKSLASH) {
      const digits = /^\d{3}/.exec(name.slice(i + 1, i + 4))
      const value = digits ? Number(digits[0]) : name.charCodeAt(i + 1)
      if (!(value <= 255)) throw new DnsFormatError(`${name}: a bad escape`)
      label.push(value)
      i += digits ? 3 : 1
    } else if (code > 255) throw new DnsFormatError(`${name}: not ASCII; write it in punycode`)
    else label.push(code)
  }
  close()
  if (total > NAME_BYTES_MAX) throw new DnsFormatError(`${name}: longer than 255 bytes`)
  return labels
}

/** Names are equal without regard to the case of ASCII letters (RFC 4343); this form shows it. */
export const canonicalName = (name: string): string => {
  // Not toLowerCase: it would change letters beyond ASCII, which are bytes here.
  const lower = name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
  const last = lower.length - 1
  return last > 0 && lower[last] === '.' && !isEscaped(lower, last) ? lower.slice(0, -1) : lower
}

/** Whether `name` is `zone` or lies below it; both canonical. */
export const isWithin = (name: string, zone: string): boolean =>
  zone === '' ||
  name === zone ||
  (name.endsWith(`.${zone}`) && !isEscaped(name, name.length - zone.length - 1))

/** The name one label up; '' above the last. */
export function parentOf(name: string): string {
  for (let i = 0; i < name.length; i++) {
    if (name[i] === '\\') i++
    else if (name[i] === '.') return name.slice(i + 1)
  }
  return ''
}

/** Whether the octet at `at` is an escaped one: backslashes before it that are themselves escaped do not count. */
function isEscaped(name: string, at: number): boolean {
  let from = at
  while (name[from - 1] === '\\') from--
  return (at - from) % 2 === 1
}

const DOT = 46
const BACKSLASH = 92

function labelText(message: Uint8Array, offset: number, length: number): string {
  let text = ''
  for (let i = offset; i < offset + length; i++) {
    const byte = message[i]!
    if (byte === DOT || byte === BACKSLASH) text += `\\${String.fromCharCode(byte)}`
    else if (byte > 32 && byte < 127) text += String.fromCharCode(byte)
    else text += `\\${String(byte).padStart(3, '0')}`
  }
  return text
}
