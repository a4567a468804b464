import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:net'
import type { Carrier } from './carrier.ts'
import { type Destination, destinationText } from './destinations.ts'
import { codeOf, TunnelError, textOf } from './failure.ts'
import { filesFirst, type HostEntry, withEntries, withoutEntries } from './hosts-file.ts'
import { listen, listenProblem } from './listeners.ts'
import { loopbackAddress } from './loopback.ts'
import { inNamespaces, type Privilege } from './namespaces.ts'
import { privateFolder } from './private-files.ts'
import { isAlive } from './process-alive.ts'
import { tryTool } from './programs.ts'
import type { Reporter } from './reporter.ts'
import type { Way } from './way.ts'

const HOSTS = '/etc/hosts'
const NSSWITCH = '/etc/nsswitch.conf'

/**
 * By name: each destination's name leads to a loopback address of its own, where the tunnel listens
 * at the destination's ports. The command's network stays as it is. Throws a TunnelError that says
 * what stands against it.
 */
export async function openNames(
  carrier: Carrier,
  destinations: readonly Destination[],
  reporter: Reporter,
): Promise<Way> {
  const { entries, servers } = await listenForNames(carrier, destinations)
  const close = () => {
    for (const server of servers) server.close()
  }
  const problems: string[] = []
  for (const open of [
    () => mounted('root', entries),
    () => mounted('user', entries),
    () => written(entries),
  ]) {
    const way = await open().catch((error) => {
      if (!(error instanceof TunnelError)) throw error
      problems.push(error.message)
      reporter.detail(`by name: ${error.message}`)
    })
    if (!way) continue
    for (const { name, address } of entries)
      reporter.detail(`${name} is ${address} for the command`)
    return {
      ...way,
      close() {
        way.close()
        close()
      },
    }
  }
  close()
  throw new TunnelError(`by name: ${problems.join('; ')}`)
}

// --- addresses -------------------------------------------------------------

const CANDIDATES = 64

interface Listening {
  readonly entries: readonly HostEntry[]
  readonly servers: readonly Server[]
}

async function listenForNames(
  carrier: Carrier,
  destinations: readonly Destination[],
): Promise<Listening> {
  const byName = new Map<string, Map<number, Destination>>()
  for (const to of destinations) {
    const ports = byName.get(to.host) ?? new Map<number, Destination>()
    byName.set(to.host, ports.set(to.port, to))
  }
  const entries: HostEntry[] = []
  const servers: Server[] = []
  try {
    for (const [name, ports] of byName) {
      const found = await listenForName(carrier, [...ports.values()], entries.length)
      entries.push({ name, address: found.address })
      servers.push(...found.servers)
    }
    return { entries, servers }
  } catch (error) {
    for (const server of servers) server.close()
    throw error
  }
}

/** The first of some loopback addresses where all ports are free: other tunnels have some too. */
async function listenForName(
  carrier: Carrier,
  destinations: readonly Destination[],
  index: number,
): Promise<{ address: string; servers: Server[] }> {
  let problem = ''
  for (let attempt = 0; attempt < CANDIDATES; attempt++) {
    const address = loopbackAddress(process.pid, index + attempt)
    const servers: Server[] = []
    try {
      for (const to of destinations) servers.push(await listen(carrier, address, to.port, to))
      return { address, servers }
    } catch (error) {
      for (const server of servers) server.close()
      const to = destinations[servers.length]!
      problem = `${destinationText(to)}: ${listenProblem(error, address, to.port)}`
      if (codeOf(error) !== 'EADDRINUSE') break
    }
  }
  throw new TunnelError(`by name: ${problem}`)
}

// --- the hosts file --------------------------------------------------------

const MOUNT = `mount --bind "$1" ${HOSTS} || exit 125
if test -n "$2"; then mount --bind "$2" ${NSSWITCH} || exit 125; fi
shift 2
exec "$@"`

/** A hosts file that the command alone sees, in a mount namespace. */
async function mounted(privilege: Privilege, entries: readonly HostEntry[]): Promise<Way> {
  if (privilege === 'root' && process.geteuid!() !== 0)
    throw new TunnelError('a mount namespace needs root')
  const { put, close } = privateFolder()
  try {
    const hosts = put('hosts', withEntries(readOr(HOSTS), entries, process.pid))
    const nsswitch = readOr(NSSWITCH)
    const files = [hosts, nsswitch ? put('nsswitch.conf', filesFirst(nsswitch)) : '']
    const wrap = inNamespaces(privilege, ['mount'], MOUNT, files)
    if (!wrap) throw new TunnelError('a mount namespace needs unshare (package util-linux)')
    await verify(wrap, entries)
    const kind = privilege === 'root' ? 'mount namespace' : 'user and mount namespace'
    return { description: `by name, with a hosts file in a ${kind}`, wrap, close }
  } catch (error) {
    close()
    throw error
  }
}

/** Our lines in the hosts file itself, where it is ours to write: in a machine or a container. */
async function written(entries: readonly HostEntry[]): Promise<Way> {
  const wrap = (command: readonly string[]) => command
  try {
    accessSync(HOSTS, constants.W_OK)
    writeFileSync(HOSTS, withEntries(cleaned(), entries, process.pid))
  } catch (error) {
    throw new TunnelError(`${HOSTS} cannot be written to (${codeOf(error) ?? textOf(error)})`)
  }
  const close = () => {
    try {
      writeFileSync(HOSTS, cleaned())
    } catch {
      // The next tunnel takes them away.
    }
  }
  try {
    await verify(wrap, entries)
  } catch (error) {
    close()
    throw error
  }
  return { description: `by name, with lines in ${HOSTS}`, wrap, close }
}

const cleaned = (): string => withoutEntries(readOr(HOSTS), process.pid, isAlive)

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

const LOOK_UP = `const { lookup } = require('node:dns/promises')
Promise.all(process.argv.slice(1).map((name) => lookup(name, { family: 4 }))).then(
  (found) => console.log(found.map(({ address }) => address).join(' ')))`

/** Resolves the names as the command will: a connection must never go round the tunnel unseen. */
async function verify(
  wrap: (command: readonly string[]) => readonly string[],
  entries: readonly HostEntry[],
): Promise<void> {
  const names = entries.map(({ name }) => name)
  const ran = await tryTool(wrap([process.execPath, '-e', LOOK_UP, ...names]))
  if (!ran.ok) throw new TunnelError(`the namespace or the look-up failed (${ran.why})`)
  const wanted = entries.map(({ address }) => address).join(' ')
  if (ran.stdout.trim() !== wanted)
    throw new TunnelError(
      `names are looked up elsewhere than in ${HOSTS}: they came as ${ran.stdout.trim()}`,
    )
}
