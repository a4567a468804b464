import { FairwayError } from '../base/errors.ts'
import { canonicalIp, formatIp, parseIp } from '../base/ip.ts'
import type { EgressMachine } from './egress-table.ts'
import type { Source } from './elements.ts'

/** The source of each private address of a machine. Throws when an address is none. */
export function wantedSources(
  machine: EgressMachine,
  host: { readonly hostV4: string; readonly hostV6: string },
): Map<string, Source> {
  const { egress, publicV6 } = machine
  const v4 = parseIp(machine.v4)
  if (v4?.family !== 4) throw bad('v4', machine.v4)
  const services = formatIp({ family: 4, bits: v4.bits + 1n })
  const block = egress && { slot: egress.slot, count: egress.count }
  const source = (field: 'v4' | 'v6', fallback: string): Source => {
    const text = egress ? egress[field] : fallback
    const address = text === null ? null : addressOf(field, text)
    return { address, block: address === null ? null : block, kept: [] }
  }
  const source4 = source('v4', host.hostV4)
  return new Map([
    [formatIp(v4), source4],
    [services, source4],
    [addressOf('v6', machine.v6), source('v6', publicV6 ?? host.hostV6)],
  ])
}

function addressOf(field: 'v4' | 'v6', text: string): string {
  const address = canonicalIp(text)
  if (address === undefined || address.includes(':') !== (field === 'v6')) throw bad(field, text)
  return address
}

const bad = (field: string, value: string) =>
  new FairwayError('invalid', `egress: ${field} ${value} is not an address of its family`)
