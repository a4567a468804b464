/** Classes of octets (RFC 9110 5.6.2 and 5.5, RFC 9112 3.2), one bit each, by char code. */
export const TOKEN = 1
/** In a field value: visible, obs-text, SP and HTAB; no other control character. */
export const FIELD = 2
/** In a request target: visible ASCII but '#', which ends a target for some and not for others. */
export const TARGET = 4
export const HEX = 8

export const CR = 13
export const LF = 10
export const SP = 32
export const HTAB = 9
export const COLON = 58
export const HYPHEN = 45
export const UNDERSCORE = 95

export const CHAR_CLASS: Uint8Array = buildClasses()

function buildClasses(): Uint8Array {
  const classes = new Uint8Array(256)
  for (let c = 0; c < 256; c++) {
    const char = String.fromCharCode(c)
    if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(char)) classes[c]! |= TOKEN
    if (c === HTAB || (c >= 0x20 && c !== 0x7f)) classes[c]! |= FIELD
    // RFC 3986 allows fewer, but browsers send `|`, `{` and the like as they are in queries.
    if (c > 0x20 && c < 0x7f && char !== '#') classes[c]! |= TARGET
    if (/[0-9a-fA-F]/.test(char)) classes[c]! |= HEX
  }
  return classes
}

export const isToken = (text: string): boolean => text !== '' && every(text, TOKEN)
export const isFieldValue = (text: string): boolean => every(text, FIELD)

function every(text: string, mask: number): boolean {
  for (let i = 0; i < text.length; i++)
    if (((CHAR_CLASS[text.charCodeAt(i)] ?? 0) & mask) === 0) return false
  return true
}
