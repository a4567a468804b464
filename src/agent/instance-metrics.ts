import type { MachineState } from '../model/resources.ts'
import type { MachineReport } from '../model/wire.ts'

/**
 * What the host's kernel counts of each machine's network (row M4), in the text format of Prometheus.
 * One look at the host's own ends of the machines' devices, where what a machine receives is sent.
 */

export interface InstanceMetricsOptions {
  readonly host: string
  readonly region: string
  /** Name of the host's end of a machine's device. */
  readonly deviceOf: (machine: string) => string
  /** `/proc/net/dev` of the host. */
  readonly readDevices: () => Promise<string>
}

/** Columns of /proc/net/dev: received first, then sent. */
const COLUMNS = ['bytes', 'packets', 'errs', 'drop', 'fifo'] as const
const SENT_FROM = 8
const COMPRESSED = { received: 6, sent: 15 } as const

export class InstanceMetrics {
  readonly #options: InstanceMetricsOptions
  readonly #machines = new Map<string, { readonly app: string; readonly state: MachineState }>()

  constructor(options: InstanceMetricsOptions) {
    this.#options = options
  }

  report({ machine, app, state, gone }: MachineReport): void {
    if (gone) this.#machines.delete(machine)
    else this.#machines.set(machine, { app, state })
  }

  async render(): Promise<string> {
    const devices = readDevices(await this.#options.readDevices())
    const { host, region, deviceOf } = this.#options
    const up: string[] = []
    const net: { readonly labels: string; readonly columns: readonly number[] }[] = []
    for (const [machine, { app, state }] of this.#machines) {
      const labels = `app="${app}",region="${region}",host="${host}",instance="${machine}"`
      up.push(`fly_instance_up{${labels}} ${state === 'started' ? 1 : 0}`)
      const columns = devices.get(deviceOf(machine))
      if (columns) net.push({ labels: `${labels},device="eth0"`, columns })
    }
    const lines = ['# TYPE fly_instance_up gauge', ...up]
    const family = (name: string, column: number) => {
      lines.push(`# TYPE fly_instance_net_${name} counter`)
      for (const { labels, columns } of net)
        lines.push(`fly_instance_net_${name}{${labels}} ${columns[column]}`)
    }
    for (const [i, name] of COLUMNS.entries()) {
      family(`recv_${name}`, SENT_FROM + i)
      family(`sent_${name}`, i)
    }
    family('recv_compressed', COMPRESSED.sent)
    family('sent_compressed', COMPRESSED.received)
    return `${lines.join('\n')}\n`
  }
}

/** The sixteen counts of each device. */
function readDevices(text: string): Map<string, number[]> {
  const devices = new Map<string, number[]>()
  for (const line of text.split('\n')) {
    const [name, counts] = line.split(':') as [string, string?]
    const columns = counts?.trim().split(/\s+/).map(Number)
    if (columns?.length === 2 * SENT_FROM) devices.set(name.trim(), columns)
  }
  return devices
}
