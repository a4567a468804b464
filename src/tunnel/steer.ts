import { spawnSync } from 'node:child_process'
import { createSocket, type Socket as Datagrams } from 'node:dgram'
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join, relative } from 'node:path'
import { serveDns } from './dns-service.ts'
import { codeOf, TunnelError, textOf } from './failure.ts'
import { isFake, PROBE_NAME } from './fake-names.ts'
import type { Interceptor } from './interceptor.ts'
import { loopbackAddress } from './loopback.ts'
import { inNamespaces } from './namespaces.ts'
import { privateFiles } from './private-files.ts'
import { tcpSockets } from './proc-net.ts'
import { tool, tryTool } from './programs.ts'
import type { Settings } from './settings.ts'
import type { Way } from './way.ts'

const NAME = 'fairway_tunnel'
const NFT_MS = 10_000

/**
 * Everything, in the machine's own network, as root: the command gets a control group of its own, and
 * nft redirects what that group connects to. Its listeners are the machine's, untouched. When the
 * tunnel dies the rules stay, and the command's connections are refused rather than let out.
 */
export async function openSteering(settings: Settings, interceptor: Interceptor): Promise<Way> {
  if (process.geteuid!() !== 0) throw new TunnelError('steering by control group needs root')
  const nft = tool('nft')
  if (!nft) throw new TunnelError('steering by control group needs the command nft')
  const open: (() => void)[] = []
  const close = () => {
    for (const undo of open.splice(0).reverse()) undo()
  }
  try {
    await removeStale(nft)
    const group = makeGroup()
    open.push(() => removeGroup(group.folder))
    const { v4, v6 } = await listenLocally(interceptor)
    open.push(
      () => v4.close(),
      () => v6?.close(),
    )
    const dns = await openDns(interceptor)
    open.push(() => dns.socket.close())
    const table = `${NAME}_${portOf(v4)}`
    const loaded = await tryTool(
      [nft, '-f', '-'],
      ruleset(table, group, portOf(v4), v6 && portOf(v6)),
    )
    if (!loaded.ok) throw new TunnelError(`nft refused the rules (${loaded.why})`)
    // Nothing of a process 1 of a container goes on after its end.
    open.push(() => void spawnSync(nft, ['delete', 'table', 'inet', table], { timeout: NFT_MS }))
    const files = privateFiles(dns.address, settings.everything)
    open.push(files.close)
    const wrap = inNamespaces('root', ['mount'], ENTER, [group.folder, ...files.mounts])
    if (!wrap) throw new TunnelError('steering needs unshare (package util-linux)')
    await verify(wrap)
    const but = v6 ? '' : ', but for IPv6, which is refused: ::1 cannot be listened at'
    const description = `everything, by control group and nft (table ${table})${but}`
    return { description, wrap, close }
  } catch (error) {
    close()
    throw error
  }
}

const ENTER = `set -e
echo $$ >"$1/cgroup.procs"
shift
while test "$1" != --; do mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"`

interface Group {
  readonly folder: string
  /** As nft wants it: below /sys/fs/cgroup, and how many groups are above it. */
  readonly path: string
  readonly level: number
}

/** A group below our own, so that the limits that hold for us hold for the command. */
function makeGroup(): Group {
  const root = / (\S+) cgroup2 /.exec(
    readFileSync('/proc/self/mounts', 'utf8').replace(/^\S+/gm, ''),
  )?.[1]
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  if (!root || own === undefined || !root.startsWith('/sys/fs/cgroup'))
    throw new TunnelError('there is no cgroup v2 below /sys/fs/cgroup')
  const folder = newFolder(join(root, own, `${NAME}_`))
  const level = relative(root, folder).split('/').length
  return { folder, path: relative('/sys/fs/cgroup', folder), level }
}

/** Its name is random: another tunnel in the same group may have the same process id, in a container. */
function newFolder(prefix: string): string {
  try {
    return mkdtempSync(prefix)
  } catch (error) {
    throw new TunnelError(`no control group can be made (${codeOf(error) ?? textOf(error)})`)
  }
}

/** Fails while processes of the command live on. */
function removeGroup(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // It is in use.
  }
}

/** In place of a table of that name: what had our port before may have left it. */
function ruleset(
  table: string,
  { path, level }: Group,
  v4: number,
  v6: number | undefined,
): string {
  return `table inet ${table}
delete table inet ${table}
table inet ${table} {
  chain steer {
    ip daddr 127.128.0.0/9 meta l4proto tcp redirect to :${v4}
    fib daddr type local return
    meta nfproto ipv4 meta l4proto tcp redirect to :${v4}
    meta l4proto tcp ${v6 === undefined ? 'reject with tcp reset' : `redirect to :${v6}`}
  }
  chain output {
    type nat hook output priority -110; policy accept;
    meta l4proto tcp socket cgroupv2 level ${level} "${path}" jump steer
  }
}
`
}

async function listenLocally(
  interceptor: Interceptor,
): Promise<{ v4: Server; v6: Server | undefined }> {
  const open = (host: string) =>
    new Promise<Server>((resolve, reject) => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
      interceptor.serve(server, 'self')
      server.once('error', reject)
      server.listen({ host, port: 0, backlog: 511 }, () => resolve(server))
    })
  const v4 = await open('127.0.0.1')
  return { v4, v6: await open('::1').catch(() => undefined) }
}

const portOf = (server: Server): number => (server.address() as { port: number }).port

const DNS_CANDIDATES = 64

async function openDns(interceptor: Interceptor): Promise<{ socket: Datagrams; address: string }> {
  for (let index = 0; index < DNS_CANDIDATES; index++) {
    const address = loopbackAddress(process.pid, index)
    const socket = createSocket('udp4')
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('error', () => resolve(false))
      socket.bind(53, address, () => resolve(true))
    })
    if (isOpen) {
      serveDns(socket, interceptor.addressOf)
      return { socket, address }
    }
    socket.close()
  }
  throw new TunnelError('port 53 is taken on every loopback address (by a server on all of them?)')
}

/**
 * Tables of tunnels that could not clean up. One is named after the port of the network that its tunnel
 * listens at: process ids say nothing of who shares the network from another container.
 */
async function removeStale(nft: string): Promise<void> {
  const { stdout } = await tryTool([nft, 'list', 'tables', 'inet'])
  const alive = new Set<number>()
  for (const { isListening, local } of tcpSockets('self')) if (isListening) alive.add(local.port)
  for (const [, table, port] of stdout.matchAll(/^table inet (fairway_tunnel_(\d+))$/gm))
    if (!alive.has(Number(port))) await tryTool([nft, 'delete', 'table', 'inet', table!])
}

const PROBE = `const { lookup } = require('node:dns/promises')
const { connect } = require('node:net')
lookup('${PROBE_NAME}', { family: 4 }).then(({ address }) => {
  connect(1, address).once('data', (text) => { console.log(address, String(text)); process.exit() })
  setTimeout(() => process.exit(1), 5000)
})`

/** A process in the group looks a name up and connects to it: both must come to us. */
async function verify(wrap: Way['wrap']): Promise<void> {
  const ran = await tryTool(wrap([process.execPath, '-e', PROBE]))
  const [address = '', said] = ran.stdout.trim().split(' ')
  if (!ran.ok || !isFake(address) || said !== PROBE_NAME)
    throw new TunnelError(
      `the kernel does not steer the control group (${ran.why || ran.stdout.trim()})`,
    )
}
