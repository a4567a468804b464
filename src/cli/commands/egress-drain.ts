import type { Command } from 'commander'
import { waitTimeout } from '../deploy.ts'
import { changeEgress, type EgressIp, findEgress } from '../egress-api.ts'
import { idsText, sayEffects } from '../egress-words.ts'
import { deadline } from '../errors.ts'
import type { Io } from '../io.ts'
import { checkIp } from '../ips.ts'
import { withExamples } from '../options.ts'
import { plural } from '../output.ts'
import { action, type Session } from '../session.ts'

const POLL_MS = 1_000

interface DrainFlags {
  readonly detach?: boolean
  readonly waitTimeout: string
}

export function registerEgressDrain(egress: Command, io: Io): void {
  const draining = egress
    .command('drain <address>')
    .summary('Stop using an address for new connections')
    .description(
      'Stop using an address and its pair for new connections, and wait until the old ones have ended',
    )
    .option('-d, --detach', 'do not wait')
    .option('--wait-timeout <time>', 'how long to wait; it goes on draining afterwards', '5m')
    .action(
      action(io, (session, address: string, flags: DrainFlags) => drain(session, address, flags)),
    )
  withExamples(draining, [
    ['fairway egress drain 198.51.100.3 -a shop', 'before it is released or moved'],
    ['fairway egress drain 198.51.100.3 -a shop --detach', 'look later: fairway egress list'],
  ])
  const undraining = egress
    .command('undrain <address>')
    .summary('Use a drained address again')
    .description('Use a drained address and its pair for new connections again')
    .action(action(io, (session, address: string) => undrain(session, address)))
  withExamples(undraining, [['fairway egress undrain 198.51.100.3 -a shop', 'take it back']])
}

async function drain(session: Session, address: string, flags: DrainFlags): Promise<void> {
  const ip = checkIp(address)
  const timeoutMs = waitTimeout(flags.waitTimeout)
  const changing = changeEgress(session, ip, { draining: true })
  const done = await session.during('Waiting for the hosts', changing)
  let row = await findEgress(session, ip)
  if (!flags.detach) row = await untilEmpty(session, ip, row, timeoutMs)
  if (session.wantsJson) return session.printJson(row)
  sayEffects(session, session.app, done)
  session.print(
    row.machines.length > 0
      ? `${ip} is draining: ${left(row)} left.`
      : `${ip} is drained: no connection uses it. \`fairway ips release-egress ${ip}\` gives it back.`,
  )
}

async function untilEmpty(session: Session, ip: string, first: EgressIp, timeoutMs: number) {
  const endMs = session.io.clock.now() + timeoutMs
  let said = ''
  for (let row = first; ; row = await findEgress(session, ip)) {
    if (row.machines.length === 0) return row
    if (left(row) !== said) {
      said = left(row)
      session.note(`Draining ${ip}: ${said} left (${holders(row)})`)
    }
    if (session.io.clock.now() >= endMs) {
      throw deadline(
        `${ip} still has ${left(row)} with open connections after ${timeoutMs / 1000} s ` +
          `(${holders(row)}). It goes on draining; run this again, or end them at the machines.`,
      )
    }
    await session.io.clock.sleep(POLL_MS, session.io.signal)
  }
}

const left = (row: EgressIp): string => plural(row.machines.length, 'block')

/** A machine that is gone may still have connections that its host lets end. */
const holders = (row: EgressIp): string =>
  idsText(row.machines.map(({ id, host }) => `${id ?? 'the outbound proxy'} on ${host}`))

async function undrain(session: Session, address: string): Promise<void> {
  const ip = checkIp(address)
  const changing = changeEgress(session, ip, { draining: false })
  const done = await session.during('Waiting for the hosts', changing)
  if (session.wantsJson) return session.printJson(await findEgress(session, ip))
  session.print(`${ip} may be used for new connections again.`)
  sayEffects(session, session.app, done)
}
