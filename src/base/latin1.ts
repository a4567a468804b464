/**
 * Octets as one-byte strings and back. `toString` and `write` come to the same after looking up the
 * encoding by name, which costs a tenth of a request here; these methods exist on every Buffer but are
 * missing from its types.
 */
interface Latin1Methods {
  latin1Slice(from: number, to: number): string
  latin1Write(text: string, at: number): number
}

export const latin1 = (data: Buffer, from: number, to: number): string =>
  (data as unknown as Latin1Methods).latin1Slice(from, to)

export const octetsOf = (text: string): Buffer => Buffer.from(text, 'latin1')

export const writeLatin1 = (data: Buffer, text: string, at: number): number =>
  (data as unknown as Latin1Methods).latin1Write(text, at)
