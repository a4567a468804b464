import type { Command } from 'commander'
import { durationMs } from '../../model/duration.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { withExamples } from '../options.ts'
import { orgOf } from '../orgs.ts'
import { ago, table, vertical } from '../output.ts'
import { action, type Session } from '../session.ts'

/** Outbound proxies: two addresses for whatever runs anywhere (docs/outbound.md). */

interface OutboundObject {
  readonly id: string
  readonly name: string
  readonly org: string
  readonly pairs: readonly {
    readonly id: string
    readonly v4: string | null
    readonly v6: string | null
    readonly state: string
  }[]
  readonly credentials: readonly {
    readonly name: string
    readonly created_at: string
    readonly expires_at: string | null
  }[]
  readonly limits: Limits
  readonly allow: readonly string[]
  readonly secret: { readonly app: string; readonly name: string } | null
  readonly created_at: string
}

interface Limits {
  readonly connections: number | null
  readonly newPerSecond: number | null
  readonly bytesPerSecond: number | null
}

interface Issued {
  readonly outbound_proxy: OutboundObject
  readonly urls: { readonly http: string; readonly socks5h: string; readonly https: string }
  readonly waiting: readonly string[]
}

interface RotateFlags {
  readonly keep: string
}

interface SecretFlags extends RotateFlags {
  readonly name: string
}

interface LimitFlags {
  readonly connections?: string
  readonly newPerSecond?: string
  readonly bytesPerSecond?: string
}

export function registerOutbound(program: Command, io: Io): void {
  const outbound = program
    .command('outbound')
    .description('Proxies with two static addresses, for anything that runs anywhere')
  registerViews(outbound, io)
  registerCredentials(outbound, io)
  registerRules(outbound, io)
}

function registerViews(outbound: Command, io: Io): void {
  const creating = outbound
    .command('create <name>')
    .description('Create a proxy; its URL is shown once')
    .option('--allow <destination...>', 'only these: a host, *.suffix or prefix, with :port')
    .action(
      action(io, (session, name: string, flags: { allow?: string[] }) =>
        create(session, name, flags.allow),
      ),
    )
  withExamples(creating, [
    ['fairway outbound create partners', 'every public destination'],
    ['fairway outbound create db --allow db.example.com:5432', 'one destination'],
  ])
  outbound
    .command('list')
    .alias('ls')
    .description("List the organization's proxies and their addresses")
    .action(action(io, list))
  outbound
    .command('show <name>')
    .description('Show addresses, credentials (not their secrets), destinations and limits')
    .action(action(io, (session, name: string) => show(session, name)))
  outbound
    .command('destroy <name>')
    .description('Destroy a proxy: its URL ends, its addresses are given back')
    .action(action(io, (session, name: string) => destroy(session, name)))
}

function registerCredentials(outbound: Command, io: Io): void {
  const keep = ['--keep <time>', 'how long the former URL stays valid', '24h'] as const
  const rotating = outbound
    .command('rotate <name>')
    .description('Make a new URL; the former one stays valid for a while')
    .option(...keep)
    .action(
      action(io, (session, name: string, flags: RotateFlags) =>
        rotate(session, name, { keep_seconds: secondsOf(flags.keep) }),
      ),
    )
  withExamples(rotating, [
    ['fairway outbound rotate partners --keep 1h', 'an hour to change over'],
    ['fairway outbound rotate partners --keep 0', 'the former URL is known to somebody'],
  ])
  const setting = outbound
    .command('set-secret <name>')
    .description("Set an app's secret to a new URL, now and with each later rotation")
    .option('--name <secret>', "the secret's name", 'QUOTAGUARDSTATIC_URL')
    .option(...keep)
    .action(
      action(io, (session, name: string, flags: SecretFlags) =>
        rotate(session, name, {
          keep_seconds: secondsOf(flags.keep),
          app: session.app,
          secret_name: flags.name,
        }),
      ),
    )
  withExamples(setting, [
    ['fairway outbound set-secret partners -a shop', 'shop reads QUOTAGUARDSTATIC_URL'],
  ])
}

function registerRules(outbound: Command, io: Io): void {
  const allowing = outbound
    .command('allow <name> [destinations...]')
    .description('Replace the destinations; without any, every public one is allowed')
    .action(
      action(io, (session, name: string, allow: string[]) => adjust(session, name, { allow })),
    )
  withExamples(allowing, [
    ['fairway outbound allow partners api.example.com:443 "*.example.net"', 'these alone'],
    ['fairway outbound allow partners', 'every public destination again'],
  ])
  outbound
    .command('limits <name>')
    .description('Limit each credential on each host; 0 takes a limit away')
    .option('--connections <n>', 'connections at once')
    .option('--new-per-second <n>', 'new connections in a second')
    .option('--bytes-per-second <n>', 'bytes in a second, both ways together')
    .action(
      action(io, (session, name: string, flags: LimitFlags) =>
        adjust(session, name, { limits: limitsOf(flags) }),
      ),
    )
}

async function create(session: Session, name: string, allow: string[] = []): Promise<void> {
  const creating = session.client.post<Issued>(await pathOf(session), { name, allow })
  const made = await session.during('Waiting for the hosts', creating)
  if (session.wantsJson) return session.printJson(made)
  session.print(`Created outbound proxy ${name}.\n\n`)
  printIssued(session, made)
}

async function list(session: Session): Promise<void> {
  const path = await pathOf(session)
  const { outbound_proxies: proxies } = await session.client.get<{
    outbound_proxies: readonly OutboundObject[]
  }>(path)
  if (session.wantsJson) return session.printJson(proxies)
  if (proxies.length === 0)
    return session.print('No outbound proxies. `fairway outbound create NAME` makes one.\n')
  const rows = proxies.map((proxy) => [
    ...[proxy.name, addressesOf(proxy, 'v4'), addressesOf(proxy, 'v6')],
    proxy.allow.length === 0 ? 'all public' : `${proxy.allow.length} named`,
    ago(proxy.created_at, session.io.clock.now()),
  ])
  session.print(table(['Name', 'IPv4', 'IPv6', 'Destinations', 'Created'], rows))
}

async function show(session: Session, name: string): Promise<void> {
  const path = await pathOf(session, name)
  const { outbound_proxy: proxy } = await session.client.get<{ outbound_proxy: OutboundObject }>(
    path,
  )
  if (session.wantsJson) return session.printJson(proxy)
  printProxy(session, proxy)
}

async function destroy(session: Session, name: string): Promise<void> {
  const path = await pathOf(session, name)
  await session.confirm(
    `Destroy outbound proxy ${name}? Whatever uses its URL stops working, and its addresses go to others after their quarantine.`,
  )
  const { outbound_proxy: proxy } = await session.client.request<{
    outbound_proxy: OutboundObject
  }>('DELETE', path)
  if (session.wantsJson) return session.printJson(proxy)
  session.print(`Destroyed outbound proxy ${proxy.name}.\n`)
  if (proxy.secret)
    session.note(`Secret ${proxy.secret.name} of ${proxy.secret.app} still has its URL; unset it.`)
}

async function rotate(session: Session, name: string, body: object): Promise<void> {
  const rotating = session.client.post<Issued>(`${await pathOf(session, name)}/credentials`, body)
  const made = await session.during('Waiting for the hosts', rotating)
  if (session.wantsJson) return session.printJson(made)
  const { secret } = made.outbound_proxy
  if (secret)
    session.print(
      `Secret ${secret.name} of ${secret.app} has the new URL; \`fairway secrets deploy -a ${secret.app}\` brings it to the machines.\n\n`,
    )
  printIssued(session, made)
}

async function adjust(
  session: Session,
  name: string,
  body: { allow: string[] } | { limits: Partial<Limits> },
): Promise<void> {
  const { outbound_proxy: proxy } = await session.client.request<{
    outbound_proxy: OutboundObject
  }>('PATCH', await pathOf(session, name), { body })
  if (session.wantsJson) return session.printJson(proxy)
  printProxy(session, proxy)
}

function printIssued(session: Session, { outbound_proxy: proxy, urls, waiting }: Issued): void {
  const [v4, v6] = [addressesOf(proxy, 'v4'), addressesOf(proxy, 'v6')]
  session.print(
    vertical('URL, shown only now', [
      ['HTTP', urls.http],
      ['SOCKS5', urls.socks5h],
      ['over TLS', urls.https],
    ]),
  )
  session.print(`Destinations see ${v4} or ${v6}; admit all of them.\n`)
  if (waiting.length > 0)
    session.note(`Not in force yet on ${waiting.join(', ')}; it will be when they answer again.`)
}

function printProxy(session: Session, proxy: OutboundObject): void {
  const free = 'no limit'
  const { connections, newPerSecond, bytesPerSecond } = proxy.limits
  session.print(
    vertical(`Outbound proxy ${proxy.name}`, [
      ['ID', proxy.id],
      ['IPv4', addressesOf(proxy, 'v4')],
      ['IPv6', addressesOf(proxy, 'v6')],
      ['Destinations', proxy.allow.length === 0 ? 'all public' : proxy.allow.join(', ')],
      ['Connections', connections ?? free],
      ['New per second', newPerSecond ?? free],
      ['Bytes per second', bytesPerSecond ?? free],
      ['Secret', proxy.secret ? `${proxy.secret.name} of ${proxy.secret.app}` : 'none'],
    ]),
  )
  const now = session.io.clock.now()
  const rows = proxy.credentials.map((credential) => [
    ...[credential.name, ago(credential.created_at, now), credential.expires_at ?? 'never'],
  ])
  session.print(table(['Credential', 'Created', 'Ends'], rows))
}

const addressesOf = (proxy: OutboundObject, family: 'v4' | 'v6'): string =>
  proxy.pairs.flatMap((pair) => pair[family] ?? []).join(', ') || 'none'

async function pathOf(session: Session, name?: string): Promise<string> {
  const { slug } = await orgOf(session)
  const base = `/api/v1/orgs/${encodeURIComponent(slug)}/outbound_proxies`
  return name === undefined ? base : `${base}/${encodeURIComponent(name)}`
}

/** Seconds, or a duration such as `90s`, `1h`. */
function secondsOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  const ms = durationMs(text, 0)
  if (ms <= 0) throw usage(`--keep "${text}" is not a duration. Use seconds or 90s, 1h.`)
  return Math.floor(ms / 1_000)
}

function limitsOf(flags: LimitFlags): Partial<Limits> {
  const given = Object.entries(flags).filter(([key]) => KEYS.has(key))
  if (given.length === 0)
    throw usage('No limit given. Use --connections, --new-per-second or --bytes-per-second.')
  return Object.fromEntries(
    given.map(([key, text]) => {
      const n = Number(text)
      if (!Number.isSafeInteger(n) || n < 0)
        throw usage(`--${key} "${text}" is not a whole number; 0 takes the limit away.`)
      return [key, n === 0 ? null : n]
    }),
  )
}
const KEYS = new Set(['connections', 'newPerSecond', 'bytesPerSecond'])
