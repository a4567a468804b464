import type { EgressUsage } from '../model/wire.ts'
import type { NamedCounter } from './flows/counters.ts'
import type { SamplerSnapshot } from './flows/sampler.ts'

/** Egress of a host as metrics (docs/egress-metrics.md), in the text format of Prometheus. */

/** Machines with lines of their own, the fullest; the others are only in the sums. */
export const MACHINES_LABELLED_MAX = 1_000

export interface MetricsInput extends SamplerSnapshot {
  /** Times that the kernel's rules were brought in line with what is wanted. */
  readonly reconciles: number
  readonly flowLinesOmitted: number
}

export function renderEgressMetrics(input: MetricsInput): string {
  const lines: string[] = []
  const family = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    samples: Iterable<readonly [labels: string, value: number | null]>,
  ) => {
    lines.push(`# HELP fairway_egress_${name} ${help}`, `# TYPE fairway_egress_${name} ${type}`)
    for (const [labels, value] of samples)
      if (value !== null) lines.push(`fairway_egress_${name}${labels} ${value}`)
  }
  const fullest = [...input.usage]
    .sort((a, b) => b.inUse / b.ports - a.inUse / a.ports || b.peak - a.peak)
    .slice(0, MACHINES_LABELLED_MAX)
  const byMachine = (read: (usage: EgressUsage) => number) =>
    fullest.map((usage) => [labelsOf(usage), read(usage)] as const)
  const sum = (read: (usage: EgressUsage) => number) =>
    [['', input.usage.reduce((total, usage) => total + read(usage), 0)]] as const

  family('machines', 'gauge', 'Machines with a static source.', [['', input.usage.length]])
  const inUse = 'Ports in use to the destination that uses most.'
  family(
    'ports_in_use',
    'gauge',
    inUse,
    byMachine((u) => u.inUse),
  )
  family(
    'ports_peak',
    'gauge',
    'The most since the start.',
    byMachine((u) => u.peak),
  )
  family(
    'ports',
    'gauge',
    'Ports that a machine has to one destination.',
    byMachine((u) => u.ports),
  )
  family(
    'connections',
    'gauge',
    'Connections to all destinations.',
    sum((u) => u.total),
  )
  const counted = countersByRole(input.counters)
  const full = 'Connections that took the last port of a block to their destination.'
  family('block_full_total', 'counter', full, counted.full)
  family('refused_total', 'counter', 'New connections refused for want of ports.', counted.refused)
  family('dropped_total', 'counter', 'Packets dropped rather than sent wrongly.', counted.dropped)
  const steered = 'Packets passed on to the host that translates them.'
  family('steered_packets_total', 'counter', steered, counted.steered)
  const { tracked, trackedMax, reconciles, looks, failures, tookMs, flowLinesOmitted } = input
  family('conntrack_entries', 'gauge', 'Connections that the kernel tracks.', [['', tracked]])
  family('conntrack_entries_max', 'gauge', 'Its limit.', [['', trackedMax]])
  family('nft_reconciles_total', 'counter', 'Changes of the rules.', [['', reconciles]])
  family('looks_total', 'counter', 'Looks at connection tracking.', [['', looks]])
  family('look_failures_total', 'counter', 'Looks that failed.', [['', failures]])
  family('look_seconds', 'gauge', 'What the last look took.', [['', tookMs / 1_000]])
  const omitted = 'Lines that flow logs left out.'
  family('flow_lines_omitted_total', 'counter', omitted, [['', flowLinesOmitted]])
  return `${lines.join('\n')}\n`
}

/** Ids and names are checked where they come from; a label must hold whatever comes all the same. */
const labelsOf = ({ machine, app }: EgressUsage): string =>
  `{machine="${escaped(machine)}",app="${escaped(app)}"}`
const escaped = (text: string): string =>
  text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))

/** The kernel's named counters, by what they say of a packet. */
function countersByRole(counters: readonly NamedCounter[]) {
  const of = (isIt: (name: string) => boolean, label: boolean) =>
    counters
      .filter(({ name }) => isIt(name))
      .map(
        ({ table, name, packets }) =>
          [
            label ? `{reason="${table === 'egress_guard' ? `guard_${name}` : name}"}` : '',
            packets,
          ] as const,
      )
  const total = (samples: readonly (readonly [string, number])[]) =>
    [['', samples.reduce((all, [, value]) => all + value, 0)]] as const
  return {
    refused: total(of((name) => REFUSED.has(name), false)),
    full: total(of((name) => name === FULL, false)),
    dropped: of((name) => !REFUSED.has(name) && name !== FULL && name !== STEERED, true),
    steered: total(of((name) => name === STEERED, false)),
  }
}
/** A want of ports, of which the machine is told at once. */
const REFUSED: ReadonlySet<string> = new Set(['over_limit'])
/** Nothing was refused yet. */
const FULL = 'block_full'
const STEERED = 'steered'
