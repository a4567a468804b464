import { FairwayError, invalid, notFound } from '../../base/errors.ts'
import type { EgressPair } from '../../model/resources.ts'
import { checkAddress } from '../address-pools.ts'
import type { Control } from '../context.ts'
import { notOfApp } from './errors.ts'
import type { Seat } from './law.ts'
import type { AppView } from './records.ts'

/** What callers say about egress, checked. */

const GROUP = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/** Known regions, each once, in the order given. */
export function checkRegions(
  { config }: Pick<Control, 'config'>,
  regions: readonly string[],
): string[] {
  const codes = config.regions.map(({ code }) => code)
  const unknown = regions.find((region) => !codes.includes(region))
  if (unknown !== undefined)
    throw invalid(`region "${unknown}" is not known; choose one of ${codes.join(', ')}`)
  return [...new Set(regions)]
}

export function checkGroup(group: string): void {
  if (GROUP.test(group)) return
  throw invalid(
    `pin.group: "${group}" is no process group; 1 to 63 letters, digits and any of _ . -`,
  )
}

/** The pair of the app that has this address, and the address in its one text form. */
export function pairWithin(
  { app, pairs }: AppView,
  text: string,
): { readonly pair: EgressPair; readonly address: string } {
  const address = checkAddress(text)
  const pair = pairs.find(({ v4, v6 }) => v4 === address || v6 === address)
  if (!pair) throw notOfApp(app.name, address)
  return { pair, address }
}

export function seatWithin(seats: readonly Seat[], app: string, machine: string): Seat {
  const seat = seats.find(({ id }) => id === machine)
  if (seat) return seat
  throw notFound(
    `machine not found: "${machine}" is no machine of app "${app}"; "fairway machine list" shows them`,
  )
}

export function refuseMachineScoped(pair: EgressPair, verb: string): void {
  if (pair.machine === null) return
  throw new FairwayError(
    'invalid',
    `${verb}: the address belongs to machine ${pair.machine} alone; promote it to its app first`,
  )
}
