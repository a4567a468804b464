import type { EgressCheck, EgressUsage } from '../model/wire.ts'
import type { EgressIp, EgressPin } from './egress-api.ts'
import { type FakeApi, Reply } from './testing.ts'
import type { FakeState } from './testing-world.ts'

/** The egress part of the fake: pairs, who may use them, blocks for the machines of a region. */

const NO_EFFECTS = { machines_moved: [], machines_to_default: [], waiting: [] }
const TIMES = { created_at: '2026-06-01T11:00:00Z', updated_at: '2026-06-01T11:59:50Z' }

/** Both addresses of pair `n`, in force for `machines`. */
export function fakePair(
  n: number,
  more: Partial<EgressIp> = {},
  machines: readonly string[] = [],
): EgressIp[] {
  const region = more.region ?? 'iad'
  const row = {
    id: `pair-${n}`,
    region,
    regions: [region],
    machine_id: null,
    pin: null,
    state: 'active' as const,
    machines: machines.map((id, slot) => ({
      ...{ id, slot, count: 1, host: 'iad1', state: 'use' as const },
    })),
    blocks_used: machines.length,
    blocks_total: 64,
    ...TIMES,
    ...more,
  }
  return [
    { ...row, ip: `198.51.100.${n}`, version: 4, price_per_month: '3.60' },
    { ...row, ip: `2001:db8:e001::${n}`, version: 6, price_per_month: '0.00' },
  ]
}

export const fakeUsage = (machine: string, more: Partial<EgressUsage> = {}): EgressUsage => ({
  ...{ machine, app: 'hello', host: 'iad1', region: 'iad', pair: 'pair-1' },
  ...{ v4: '198.51.100.1', v6: '2001:db8:e001::1', slot: 1, count: 1, ports: 1024 },
  ...{ total: 12, elsewhere: 0, inUse: 7, peak: 90, destinationCount: 1 },
  destinations: [{ address: '192.0.2.7', port: 5432, proto: 'tcp', inUse: 7, peak: 90 }],
  ...{ exhausted: 0, dropped: {}, sampledAt: '2026-06-01T12:00:00Z' },
  ...more,
})

export const fakeCheck = (
  machine: string,
  more: Partial<EgressCheck['results'][number]> = {},
): EgressCheck => ({
  ...{ machine, region: 'iad', checkHost: 'iad1' },
  results: [
    {
      ...{ family: 4, remote: '192.0.2.7', source: '198.51.100.1', sourcePort: 1025 },
      ...{ seenByFarEnd: '198.51.100.1', expected: '198.51.100.1', ok: true },
      ...{ connectMs: 0.42, connectDefaultMs: 0.4, error: null },
      ...more,
    },
  ],
})

export function egressRoutes(api: FakeApi, state: FakeState): void {
  const base = '/api/v1/apps/[^/]+/egress_ips'
  const all = () => ({ egress_ips: state.egress })
  const missing = (ip: string) =>
    new Reply(404, { error: `${ip} is not an egress address of hello`, code: 'not_found' })
  /** Changes the pair of `ip`. */
  const change = (ip: string | undefined, more: Partial<EgressIp>) => {
    const found = state.egress.find((row) => row.ip === ip)
    if (!found) return missing(ip ?? '')
    state.egress = state.egress.map((row) => (row.id === found.id ? { ...row, ...more } : row))
    return { egress_ips: state.egress.filter((row) => row.id === found.id), ...NO_EFFECTS }
  }
  api.on(`GET ${base}`, all)
  api.on(`POST ${base}`, ({ body }) => {
    const { region, regions = [region], count = 1, pin = null } = body as Wish
    const users = state.machines.filter((m) => regions.includes(m.region)).map((m) => m.id)
    const made = Array.from({ length: count }, (_, i) =>
      fakePair(state.egress.length / 2 + i + 1, { region, regions, pin }, i === 0 ? users : []),
    ).flat()
    state.egress = [...state.egress, ...made]
    return { egress_ips: made, ...NO_EFFECTS, machines_moved: users }
  })
  api.on(`DELETE ${base}/([^/]+)`, (_, ip) => {
    if (!state.egress.some((row) => row.ip === ip)) return missing(ip ?? '')
    const lost = state.egress.length === 1 ? (state.egress[0]?.machines ?? []) : []
    state.egress = state.egress.filter((row) => row.ip !== ip)
    const ids = lost.map(({ id }) => id)
    return { v4: ip, v6: null, ...NO_EFFECTS, machines_moved: ids, machines_to_default: ids }
  })
  api.on(`PATCH ${base}/([^/]+)`, ({ body }, ip) => {
    const { draining, ...more } = body as { draining?: boolean } & Partial<EgressIp>
    if (draining === undefined) return change(ip, more)
    return change(ip, { state: draining ? 'draining' : 'active' })
  })
  api.on(`POST ${base}/([^/]+)/promote`, (_, ip) => change(ip, { machine_id: null }))
  api.on(`POST ${base}/([^/]+)/move`, ({ body }, ip) => {
    const { app, machine } = body as { app?: string; machine?: string }
    if (app === 'nowhere') return new Reply(404, { error: 'Could not find App', code: 'not_found' })
    return change(ip, machine ? { machine_id: machine } : {})
  })
  api.on('POST /api/v1/apps/[^/]+/machines/([^/]+)/egress_blocks', ({ body }, id) => {
    const { count } = body as { count: number }
    if (!state.egress.some((row) => row.machines.some((m) => m.id === id))) {
      return new Reply(412, {
        error: `Machine ${id} has no static egress address.`,
        code: 'failed_precondition',
      })
    }
    state.egress = state.egress.map((row) => ({
      ...row,
      machines: row.machines.map((m) => (m.id === id ? { ...m, count } : m)),
    }))
    const egress = { v4: '198.51.100.1', v6: null, slot: 0, count, problem: null }
    return { machine_id: id, egress, waiting: ['iad2'] }
  })
  api.on('GET /api/v1/apps/[^/]+/egress_usage', () => ({
    usage: state.usage,
    hosts_silent: [],
  }))
  api.on('POST /api/v1/apps/[^/]+/egress_check', ({ body }) => {
    const { machine } = body as { machine?: string }
    const known = machine && !state.checks.some((check) => check.machine === machine)
    const found = state.checks.filter((check) => !machine || check.machine === machine)
    return { checks: known ? [fakeCheck(machine)] : found, machines_skipped: 0 }
  })
  api.on('GET /api/v1/orgs/personal/egress_metering', ({ query }) => ({
    from: query.from ?? '2026-06-01T00:00:00.000Z',
    to: query.to ?? '2026-06-01T12:00:00.000Z',
    addresses: state.egress.map(({ ip, version, region, price_per_month: perMonth }) => ({
      ...{ address: ip, version, region, app: 'hello', hours: 12, currency: 'USD' },
      price: ((Number(perMonth) * 12) / 720).toFixed(6),
    })),
  }))
  machineScoped(api, state)
}

interface Wish {
  readonly region: string
  readonly regions?: readonly string[]
  readonly count?: number
  readonly pin?: EgressPin
}

function machineScoped(api: FakeApi, state: FakeState): void {
  api.graphql.allocateEgressIpAddress = ({ input }) => {
    const { machineId } = input as { machineId: string }
    if (!state.machines.some((m) => m.id === machineId)) return new Error('Could not find Machine')
    const made = fakePair(state.egress.length / 2 + 1, { machine_id: machineId }, [machineId])
    state.egress = [...state.egress, ...made]
    return { v4: made[0]!.ip, v6: made[1]!.ip }
  }
  api.graphql.releaseEgressIpAddress = ({ input }) => {
    const { machineId } = input as { machineId: string }
    const own = state.egress.filter((row) => row.machine_id === machineId)
    if (own.length === 0) return new Error(`no egress IPs found for machine ${machineId}`)
    state.egress = state.egress.filter((row) => row.machine_id !== machineId)
    const of = (version: number) => own.find((row) => row.version === version)?.ip ?? null
    return { v4: of(4), v6: of(6) }
  }
}
