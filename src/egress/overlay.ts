import type { Exec } from '../kernel/exec.ts'
import { findLink, ipBatch, listRoutes, listRules, setSysctls } from '../kernel/ip.ts'
import {
  desiredRoutes,
  desiredRules,
  OVERLAY_DEVICE,
  OVERLAY_PROTOCOL,
  type OverlayPlan,
  planDevice,
  planRoutes,
  planRules,
} from './overlay-plan.ts'

/**
 * The way of return traffic from the host where it came in to the host that translates it back: one
 * VXLAN-GPE device (draft-ietf-nvo3-vxlan-gpe) inside the mesh, which carries IP packets without
 * Ethernet, and a table of one route for each other host.
 */
export interface Overlay {
  /**
   * Resolves when the kernel has the device, and rules and routes to these hosts and no others. The
   * mesh must be up. May be called again at any time: only differences are touched. One call at a
   * time.
   */
  apply(owners: readonly number[]): Promise<void>
}

export interface OverlayDeps extends Omit<OverlayPlan, 'owners'> {
  readonly exec: Exec
}

export function createOverlay(deps: OverlayDeps): Overlay {
  const { exec, hostIndex } = deps
  let isPrepared = false

  async function apply(owners: readonly number[]): Promise<void> {
    const plan = { ...deps, owners: owners.filter((index) => index !== hostIndex) }
    const lines = planDevice(hostIndex, await findLink(exec, OVERLAY_DEVICE))
    if (lines.length > 0 || !isPrepared) await prepare(lines)
    // Routes before the rules that lead to them.
    for (const family of [4, 6] as const) {
      const ours = ['table', 'all', 'proto', String(OVERLAY_PROTOCOL)]
      const observed = await listRoutes(exec, family, ours)
      await ipBatch(exec, planRoutes(desiredRoutes(plan, family), observed), family)
      await ipBatch(exec, planRules(desiredRules(plan), await listRules(exec, family)), family)
    }
  }

  async function prepare(lines: readonly string[]): Promise<void> {
    isPrepared = false
    await ipBatch(exec, lines)
    await setSysctls(exec, {
      [`net.ipv4.conf.${OVERLAY_DEVICE}.rp_filter`]: 0,
      // Answers of other hosts' edges come from addresses that are this host's too.
      [`net.ipv4.conf.${OVERLAY_DEVICE}.accept_local`]: 1,
    })
    isPrepared = true
  }

  return { apply }
}
