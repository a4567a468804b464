import { randomInt } from 'node:crypto'
import { addressAt, formatIp, parsePrefix } from '../../base/ip.ts'
import { SLOTS_PER_HOST } from '../fleet.ts'

const PRIVATE_V4 = parsePrefix('172.16.0.0/12')!
const ADDRESSES_PER_HOST = 4_096n
const SIXPN_HEAD = 0xfdaan
const HOST_FIELD = 0x0a7bn
/** Enough bits for a slot number; the rest of the 32 machine bits is random. */
const SLOT_BITS = 11

/** The machine's private IPv4: host i owns the i-th /20, slot n its addresses 2n and 2n + 1. */
export const machineV4 = (hostIndex: number, slot: number): string =>
  addressAt(PRIVATE_V4, BigInt(hostIndex - 1) * ADDRESSES_PER_HOST + 2n * BigInt(slot))

/** The slot of a private IPv4 that `machineV4` gave. */
export const slotOfV4 = (v4: string): number => {
  const [, , third = 0, fourth = 0] = v4.split('.').map(Number)
  return (((third & 15) << 8) | fourth) >> 1
}

/**
 * A fresh 6PN address (N2): `fdaa:<network>:a7b:<host>:<machine>:2`. The slot is part of the machine
 * bits, so two machines of one host never share an address, without a claim of its own; the random
 * bits keep an address from coming back with the slot.
 */
export function machineV6(networkId: number, hostIndex: number, slot: number): string {
  if (slot < 1 || slot > SLOTS_PER_HOST) throw new RangeError(`slot ${slot} out of range`)
  const machine = (BigInt(randomInt(2 ** (32 - SLOT_BITS))) << BigInt(SLOT_BITS)) | BigInt(slot)
  const bits =
    (SIXPN_HEAD << 112n) |
    (BigInt(networkId) << 80n) |
    (HOST_FIELD << 64n) |
    (BigInt(hostIndex) << 48n) |
    (machine << 16n) |
    2n
  return formatIp({ family: 6, bits })
}
