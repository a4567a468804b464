import { conflict, FairwayError, invalid } from '../../base/errors.ts'
import { EGRESS_SLOTS, type EgressPair } from '../../model/resources.ts'
import { longestFreeRun, usedSlots } from './blocks.ts'
import type { Seat } from './law.ts'
import { nameOf } from './records.ts'

/** What goes wrong with egress addresses, in words that name them, the counts and the way out. */

/** E2: clients look for this text. */
export const regionMissing = (): FairwayError =>
  invalid('a region must be provided when allocating an app-scoped egress IP address')

export const notOfApp = (app: string, address: string): FairwayError =>
  new FairwayError(
    'address_not_found',
    `app "${app}" has no egress address ${address}; see: fairway ips list -a ${app}`,
    { status: 404 },
  )

export const noneOfMachine = (machine: string): FairwayError =>
  new FairwayError(
    'address_not_found',
    `no machine-scoped egress IPs found for machine ${machine}; see: fairway machine egress-ip list`,
    { status: 404 },
  )

/** Machines for which there are pairs, but not enough room on them. Nothing was changed. */
export function noRoom(
  app: string,
  over: readonly Seat[],
  pairs: readonly EgressPair[],
): FairwayError {
  const lines = [...Map.groupBy(over, (seat) => seat.region)].map(([region, seats]) => {
    const here = pairs.filter((pair) => pair.state === 'active' && pair.regions.includes(region))
    const names = here.slice(0, NAMED_MAX).map(describe)
    if (here.length > NAMED_MAX) names.push(`${here.length - NAMED_MAX} more`)
    const machines = seats.length === 1 ? `machine ${seats[0]!.id}` : `${seats.length} machines`
    return (
      `${machines} of app "${app}" in ${region} would be left without an egress address; ` +
      `in use there: ${names.join(', ')}; allocate another pair: ` +
      `fairway ips allocate-egress -a ${app} -r ${region}${countFlag(seats.length)}`
    )
  })
  return new FairwayError('egress_full', lines.join('; '), { status: 412 })
}
const NAMED_MAX = 8

const countFlag = (machines: number): string => {
  const pairs = Math.ceil(machines / EGRESS_SLOTS)
  return pairs > 1 ? ` --count ${pairs}` : ''
}

const describe = (pair: EgressPair): string => {
  const only =
    pair.machine ?? (pair.pin && ('group' in pair.pin ? pair.pin.group : pair.pin.machine))
  const kept = only ? `, kept for ${only}` : ''
  return `${nameOf(pair)} (${usedSlots(pair.blocks)} of ${EGRESS_SLOTS} blocks${kept})`
}

export const stillMoving = (machine: string): FairwayError =>
  conflict(`machine ${machine} is being given another egress address; try again in a second`)

/** Draining the last pair would send its machines out from their hosts' addresses, unasked. */
export const lastOfMachines = (pair: EgressPair, machines: number): FairwayError =>
  new FairwayError(
    'failed_precondition',
    `${nameOf(pair)} cannot drain: ${machines === 1 ? '1 machine has' : `${machines} machines have`} no other egress address to go to, and would leave from those of their hosts; ` +
      'allocate another pair first, or release this one',
    { status: 412 },
  )

export const noAdjacentRoom = (pair: EgressPair, machine: string, count: number): FairwayError =>
  new FairwayError(
    'egress_full',
    `count: machine ${machine} cannot have ${count} adjacent blocks of ${nameOf(pair)}: ` +
      `${EGRESS_SLOTS - usedSlots(pair.blocks)} of ${EGRESS_SLOTS} are free, at most ${longestFreeRun(pair.blocks)} side by side; ` +
      'ask for fewer, or pin a pair of its own to the machine',
    { status: 412 },
  )
