/**
 * Names for which the tunnel makes up addresses, so that it is the proxy that resolves them. From
 * 127.128.0.0/9: always local, needs no route, and nothing else is there.
 */
export class FakeNames {
  readonly #addressOf = new Map<string, string>()
  readonly #nameOf = new Map<string, string>()
  readonly #max: number
  #next = 1

  constructor(max = NAMES_MAX) {
    this.#max = max
  }

  addressOf(name: string): string {
    const known = this.#addressOf.get(name)
    if (known) {
      this.#addressOf.delete(name)
      this.#addressOf.set(name, known)
      return known
    }
    const address = `127.${128 + (this.#next >> 16)}.${(this.#next >> 8) & 255}.${this.#next & 255}`
    // Round after 8 million names; what has that address then was asked for long ago.
    this.#next = this.#next === 0x7f_fffe ? 1 : this.#next + 1
    if (this.#addressOf.size >= this.#max) this.#forget(this.#addressOf.keys().next().value!)
    this.#addressOf.set(name, address)
    this.#nameOf.set(address, name)
    return address
  }

  nameOf(address: string): string | undefined {
    return this.#nameOf.get(address)
  }

  #forget(name: string): void {
    this.#nameOf.delete(this.#addressOf.get(name)!)
    this.#addressOf.delete(name)
  }
}

/** Always ours, to see whether names come to us at all (RFC 6761 6.4: nobody else has it). */
export const PROBE_NAME = 'probe.fairway-tunnel.invalid'

const NAMES_MAX = 65_536

export const isFake = (address: string): boolean => {
  const [first, second] = address.split('.').map(Number)
  return first === 127 && second! >= 128
}
