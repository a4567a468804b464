import type { Command } from 'commander'
import type { ApiRegion } from '../api-types.ts'
import type { Io } from '../io.ts'
import { table } from '../output.ts'
import { action, type Session } from '../session.ts'

export function registerRegions(program: Command, io: Io): void {
  const regions = program.command('regions').description('Regions of the fleet')
  regions
    .command('list', { isDefault: true })
    .alias('ls')
    .description('List the regions')
    .action(action(io, list))
  const platform = program.command('platform').description('What the platform offers')
  platform.command('regions').description('List the regions').action(action(io, list))
}

async function list(session: Session): Promise<void> {
  const { Regions, Nearest } = await session.client.get<{
    Regions: readonly ApiRegion[]
    Nearest?: string
  }>('/v1/platform/regions')
  if (session.wantsJson) return session.printJson(Regions)
  const shown = Regions.filter((region) => !region.deprecated)
  const group = (region: ApiRegion) => (region.geo_region ?? '').replaceAll('_', ' ')
  const sorted = [...shown].sort(
    (a, b) => group(a).localeCompare(group(b)) || a.code.localeCompare(b.code),
  )
  session.print(
    table(
      ['Name', 'Code', 'Area'],
      sorted.map((r) => [r.name, r.code, group(r)]),
    ),
  )
  if (Nearest) session.print(`Nearest: ${Nearest}`)
}
