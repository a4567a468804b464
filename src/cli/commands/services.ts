import type { Command } from 'commander'
import type { Port, Service } from '../../model/machine-config.ts'
import { type ApiMachine, groupOf } from '../api-types.ts'
import type { Io } from '../io.ts'
import { deployedMachines } from '../machines.ts'
import { table } from '../output.ts'
import { action, type Session } from '../session.ts'

export function registerServices(program: Command, io: Io): void {
  program
    .command('services')
    .description('What an app exposes')
    .command('list')
    .description('List the services of the machines, each with its ports')
    .action(action(io, list))
}

/** One port of a service, and who has it. */
interface Row {
  readonly protocol: string
  /** `443 => 8080`. */
  readonly ports: string
  readonly handlers: readonly string[]
  readonly forceHttps: boolean
  readonly group: string
  readonly regions: Set<string>
  machines: number
}

async function list(session: Session): Promise<void> {
  const rows = rowsOf(await session.during('Reading the machines', deployedMachines(session)))
  if (session.wantsJson) return session.printJson(rows.map(jsonOf))
  if (rows.length === 0) return session.print(`No services: no machine of ${session.app} has any.`)
  session.print(
    table(
      ['Protocol', 'Ports', 'Handlers', 'Force HTTPS', 'Process Group', 'Regions', 'Machines'],
      rows.map((row) => [
        row.protocol.toUpperCase(),
        row.ports,
        row.handlers.join(', '),
        row.forceHttps ? 'yes' : 'no',
        row.group,
        [...row.regions].sort().join(', '),
        row.machines,
      ]),
    ),
  )
}

/** Equal ports of machines of one group are one row. */
function rowsOf(machines: readonly ApiMachine[]): Row[] {
  const rows = new Map<string, Row>()
  for (const machine of machines) {
    for (const service of machine.config.services ?? []) {
      for (const port of service.ports ?? []) {
        const fresh = rowOf(service, port, groupOf(machine) ?? '')
        const key = JSON.stringify([fresh.protocol, fresh.ports, fresh.handlers, fresh.group])
        const row = rows.get(key) ?? fresh
        row.regions.add(machine.region)
        row.machines += 1
        rows.set(key, row)
      }
    }
  }
  return [...rows.values()]
}

const rowOf = (service: Service, port: Port, group: string): Row => ({
  protocol: service.protocol ?? 'tcp',
  ports: `${edgePorts(port)} => ${service.internal_port}`,
  handlers: port.handlers ?? [],
  forceHttps: port.force_https ?? false,
  group,
  regions: new Set(),
  machines: 0,
})

const edgePorts = ({ port, start_port, end_port }: Port): string =>
  port === undefined ? `${start_port ?? 1}-${end_port ?? 65_535}` : String(port)

const jsonOf = (row: Row) => ({
  Protocol: row.protocol,
  Ports: row.ports,
  Handlers: row.handlers,
  ForceHTTPS: row.forceHttps,
  ProcessGroup: row.group,
  Regions: [...row.regions].sort(),
  Machines: row.machines,
})
