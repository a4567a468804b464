import type { HeadFault } from '../../base/http1/head-faults.ts'
import type { EdgeView } from '../../view/edge-view.ts'
import { RegionOrder } from '../balance/region-order.ts'
import { Steering } from '../balance/steering.ts'
import type { Counters } from '../counters.ts'
import { ROUTING_VALUE_BYTES_MAX } from '../limits.ts'

/** What a client's routing headers say (R27 to R30), as sent; '' is none. */
export interface RoutingFields {
  preferRegion: string
  forceRegion: string
  preferInstance: string
  forceInstance: string
}

export const newRoutingFields = (): RoutingFields => ({
  ...{ preferRegion: '', forceRegion: '', preferInstance: '', forceInstance: '' },
})

/** Ids of machines as the control plane gives them, and room for others. */
const MACHINE_ID = /^[0-9a-z]{1,32}$/

/**
 * What they come to. A preference that cannot be read is left aside; null when nothing is left. What
 * is forced is not guessed at: the request is refused.
 */
export function readRouting(
  fields: RoutingFields,
  view: EdgeView,
  counters: Counters,
): Steering | null | HeadFault {
  const { preferRegion, forceRegion, preferInstance, forceInstance } = fields
  const forcedRegions = readable(forceRegion, counters)
    ? RegionOrder.parse(forceRegion, view)
    : null
  if (forceRegion !== '' && forcedRegions === null)
    return refusal('Fly-Force-Region', forceRegion, 'no region that there is', 'iad,lhr or eu')
  if (forceInstance !== '' && !MACHINE_ID.test(forceInstance))
    return refusal('Fly-Force-Instance-Id', forceInstance, 'no id of a machine', '3d8d413b29d689')
  const preferred = readable(preferRegion, counters) ? RegionOrder.parse(preferRegion, view) : null
  const regions = forcedRegions ?? preferred
  const machine = MACHINE_ID.test(preferInstance) ? preferInstance : ''
  if (regions === null && forceInstance === '' && machine === '') return null
  return new Steering({
    forcedMachine: forceInstance,
    preferredMachine: forceInstance === '' ? machine : '',
    regions,
    onlyRegions: forcedRegions !== null,
  })
}

function readable(value: string, counters: Counters): boolean {
  if (value.length <= ROUTING_VALUE_BYTES_MAX) return value !== ''
  counters.limit('routing_value_bytes')
  return false
}

/** What came from the client is shown as far as it can do no harm in a terminal or a page. */
function refusal(name: string, value: string, what: string, example: string): HeadFault {
  const shown = value.replace(/[^ -~]/g, '?').replace(/["<>&]/g, '?')
  const short = shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}...` : shown
  return { status: 400, reason: `${name} "${short}" names ${what}; use one such as ${example}` }
}
const SHOWN_MAX = 64
