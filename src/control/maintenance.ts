import { messageOf } from '../base/errors.ts'
import { reapQuarantine } from './address-pools.ts'
import { resumeDeletions } from './app-deletion.ts'
import type { Control } from './context.ts'
import { resumeEgressChanges } from './egress/settle.ts'
import { keepOutbound } from './outbound/upkeep.ts'

/** What the control plane does by itself, now and then. */

export const MAINTENANCE_INTERVAL_MS = 5_000

/** One round; each part may fail without the others. */
export async function maintain(control: Control): Promise<void> {
  for (const part of [reapQuarantine, resumeDeletions, resumeEgressChanges, keepOutbound]) {
    try {
      await part(control)
    } catch (error) {
      control.log.warn({ part: part.name, error: messageOf(error) }, 'maintenance failed')
    }
  }
}

/** Rounds until closed; `close` resolves when the one in progress is over. */
export function startMaintenance(control: Control): { close(): Promise<void> } {
  const stop = new AbortController()
  const run = async () => {
    while (!stop.signal.aborted) {
      await maintain(control)
      await control.clock.sleep(MAINTENANCE_INTERVAL_MS, stop.signal).catch(() => undefined)
    }
  }
  const running = run()
  return {
    close: () => {
      stop.abort()
      return running
    },
  }
}
