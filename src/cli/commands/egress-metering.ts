import type { Command } from 'commander'
import { type Metering, readMetering } from '../egress-api.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { withExamples } from '../options.ts'
import { orgOf } from '../orgs.ts'
import { table } from '../output.ts'
import { action, type Session } from '../session.ts'

interface Flags {
  readonly from?: string
  readonly to?: string
}

export function registerEgressMetering(egress: Command, io: Io): void {
  const command = egress
    .command('metering')
    .summary('Show for how many hours addresses were held, and the price')
    .description(
      'Show for how many hours each egress address of an organization was held, used or not, and what ' +
        'that comes to; this month until now unless --from and --to say otherwise',
    )
    .option('--from <time>', 'beginning, such as 2026-01-01 or 2026-01-01T00:00:00Z')
    .option('--to <time>', 'end, not included (else now)')
    .action(action(io, metering))
  withExamples(command, [
    ['fairway egress metering', 'this month'],
    ['fairway egress metering --from 2026-01-01 --to 2026-02-01 -o acme', 'a whole month'],
  ])
}

async function metering(session: Session, flags: Flags): Promise<void> {
  const span = { from: timeOf('--from', flags.from), to: timeOf('--to', flags.to) }
  const org = await orgOf(session)
  const found = await readMetering(session, org.slug, span)
  if (session.wantsJson) return session.printJson(found)
  session.print(`Egress addresses of ${org.slug} from ${found.from} to ${found.to}\n`)
  if (found.addresses.length === 0) return session.print('None was held.')
  session.print(
    table(
      ['Version', 'IP', 'Region', 'App', 'Hours', 'Price'],
      found.addresses.map((row) => [
        `v${row.version}`,
        row.address,
        row.region,
        row.app ?? '',
        row.hours,
        `${row.price} ${row.currency}`,
      ]),
    ),
  )
  session.print(`Total: ${totalOf(found)}`)
}

/** Prices have six decimals at most; the sum of whole millionths is exact. */
function totalOf({ addresses }: Metering): string {
  const millionths = addresses.reduce((sum, row) => sum + Math.round(Number(row.price) * 1e6), 0)
  return `${(millionths / 1e6).toFixed(4)} ${addresses[0]?.currency ?? ''}`.trim()
}

/** As the API reads it. */
function timeOf(flag: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(ms)) return new Date(ms).toISOString()
  throw usage(`${flag} "${text}" is no time. Use 2026-01-31 or 2026-01-31T12:00:00Z.`)
}
