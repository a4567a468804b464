import { durationMs } from '../../model/duration.ts'
import { CHECKS_MAX, type Check, type MachineConfig } from '../../model/machine-config.ts'

/** A check, ready to run: every default and limit applied. */
export interface CheckPlan {
  /** As clients show it; unique within the machine. */
  readonly name: string
  /** Index of the service that it decides about; null for a top-level check, which routes nothing. */
  readonly service: number | null
  readonly probe: ProbePlan
  readonly intervalMs: number
  readonly timeoutMs: number
  /** After the start: failures within it do not count. */
  readonly graceMs: number
}

export type ProbePlan =
  | { readonly type: 'tcp'; readonly port: number }
  | {
      readonly type: 'http'
      readonly port: number
      readonly tls: { readonly serverName: string | undefined; readonly skipVerify: boolean } | null
      readonly method: string
      readonly path: string
      readonly headers: readonly (readonly [name: string, value: string])[]
    }

/** S31's documented example. */
const DEFAULT_INTERVAL_MS = 15_000
const DEFAULT_TIMEOUT_MS = 2_000
const DEFAULT_GRACE_MS = 1_000
/** S34: what a service check is raised and lowered to. */
const SERVICE_MIN_MS = 1_000
const SERVICE_MAX_MS = 60_000
/** S37. */
const TOP_LEVEL_INTERVAL_MIN_MS = 2_000
const TOP_LEVEL_TIMEOUT_MAX_MS = 60_000
const TOP_LEVEL_GRACE_MAX_MS = 600_000
/** The checks of a machine: its services', numbered in order, then the top-level ones. */
export function planChecks(config: MachineConfig): CheckPlan[] {
  const ofServices = (config.services ?? []).flatMap((service, index) =>
    (service.checks ?? []).map((check) => ({ check, service, index })),
  )
  const plans = ofServices.map(({ check, service, index }, n): CheckPlan => {
    const port = check.port ?? service.internal_port
    const type = check.type ?? 'tcp'
    return {
      name: `servicecheck-${String(n).padStart(2, '0')}-${type}-${port}`,
      service: index,
      probe: probeOf(check, port),
      intervalMs: within(check.interval, DEFAULT_INTERVAL_MS, SERVICE_MIN_MS, SERVICE_MAX_MS),
      timeoutMs: within(check.timeout, DEFAULT_TIMEOUT_MS, SERVICE_MIN_MS, SERVICE_MAX_MS),
      graceMs: grace(check, SERVICE_MIN_MS, SERVICE_MAX_MS),
    }
  })
  for (const [name, check] of Object.entries(config.checks ?? {})) {
    if (check.port === undefined) continue // S37: required; control refuses it.
    plans.push({
      name,
      service: null,
      probe: probeOf(check, check.port),
      intervalMs: within(check.interval, DEFAULT_INTERVAL_MS, TOP_LEVEL_INTERVAL_MIN_MS, Infinity),
      timeoutMs: within(check.timeout, DEFAULT_TIMEOUT_MS, 1, TOP_LEVEL_TIMEOUT_MAX_MS),
      graceMs: grace(check, 0, TOP_LEVEL_GRACE_MAX_MS),
    })
  }
  return plans.slice(0, CHECKS_MAX)
}

function probeOf(check: Check, port: number): ProbePlan {
  if (check.type !== 'http') return { type: 'tcp', port }
  return {
    type: 'http',
    port,
    tls:
      check.protocol === 'https'
        ? {
            serverName: check.tls_server_name || undefined,
            skipVerify: check.tls_skip_verify ?? false,
          }
        : null,
    method: (check.method || 'GET').toUpperCase(),
    path: check.path?.startsWith('/') ? check.path : `/${check.path ?? ''}`,
    headers: (check.headers ?? []).flatMap(({ name, values }) =>
      values.map((value) => [name, value] as const),
    ),
  }
}

type Duration = string | number | undefined

function within(value: Duration, fallbackMs: number, minMs: number, maxMs: number): number {
  return Math.min(maxMs, Math.max(minMs, durationMs(value, fallbackMs)))
}

/** No grace at all stays none; a short one is raised like the rest (S34). */
function grace(check: Check, minMs: number, maxMs: number): number {
  const ms = durationMs(check.grace_period, DEFAULT_GRACE_MS)
  return ms === 0 ? 0 : Math.min(maxMs, Math.max(minMs, ms))
}
