import type { ChildProcess } from 'node:child_process'
import type { Socket as Datagrams } from 'node:dgram'
import { readFileSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { serveDns } from './dns-service.ts'
import { TunnelError } from './failure.ts'
import {
  DNS_ADDRESS,
  type FromInside,
  INSIDE,
  INTERCEPT_PORT,
  type ToInside,
} from './inside-protocol.ts'
import type { Interceptor } from './interceptor.ts'
import { ListenerRelay } from './listener-relay.ts'
import { inNamespaces, type Privilege } from './namespaces.ts'
import { type PrivateFiles, privateFiles } from './private-files.ts'
import { tool, tryTool } from './programs.ts'
import type { Reporter } from './reporter.ts'
import type { Settings } from './settings.ts'
import type { Way } from './way.ts'

/**
 * Everything, in a network of the command's own: there is no way out of it but us. Every address is
 * local there, and nft redirects whatever is connected to. Ports that the command listens at are
 * opened outside as well. Throws a TunnelError that says what stands against it.
 */
export async function openNetwork(
  privilege: Privilege,
  settings: Settings,
  interceptor: Interceptor,
  reporter: Reporter,
  entry: string,
): Promise<Way> {
  if (privilege === 'root' && process.geteuid!() !== 0)
    throw new TunnelError('a network namespace needs root')
  for (const name of ['ip', 'nft'])
    if (!tool(name)) throw new TunnelError(`a network of its own needs the command ${name}`)
  const files = privateFiles(DNS_ADDRESS, settings.everything)
  const rules = files.put('rules.nft', ruleset(settings))
  const args = [tool('ip')!, tool('nft')!, rules, unprivilegedPorts(), ...files.mounts]
  const inside = [process.execPath, ...process.execArgv, entry, INSIDE]
  const wrap = inNamespaces(privilege, ['mount', 'net'], SETUP, args, inside)
  const tried = await tryTool(
    inNamespaces(privilege, ['mount', 'net'], SETUP, args)?.(['true']) ?? [],
  )
  if (!wrap || !tried.ok) {
    files.close()
    throw new TunnelError(`a network of its own cannot be set up (${tried.why})`)
  }
  return namespaceWay(privilege, wrap, files, interceptor, reporter)
}

function namespaceWay(
  privilege: Privilege,
  wrap: Way['wrap'],
  files: PrivateFiles,
  interceptor: Interceptor,
  reporter: Reporter,
): Way {
  let relay: ListenerRelay | undefined
  const opened: { close(): unknown }[] = []
  return {
    description: `everything, in a ${privilege === 'root' ? '' : 'user and '}network namespace`,
    wrap,
    started(child: ChildProcess) {
      child.on('message', (message: FromInside, handle: unknown) => {
        if (message.t === 'listener') {
          const server = handle as Server & { allowHalfOpen: boolean; pauseOnConnect: boolean }
          server.allowHalfOpen = true
          server.pauseOnConnect = true
          opened.push(server)
          interceptor.serve(server, child.pid!)
        }
        if (message.t === 'dns') {
          opened.push(handle as Datagrams)
          serveDns(handle as Datagrams, interceptor.addressOf)
        }
        if (message.t !== 'ready') return
        const pass = (socket: Socket, host: string, port: number) =>
          tell(child, { t: 'connection', host, port }, socket)
        relay = new ListenerRelay(message.pid, pass, reporter)
        tell(child, { t: 'go' })
      })
      child.on('exit', () => relay?.close())
    },
    close() {
      relay?.close()
      for (const one of opened) one.close()
      files.close()
    },
  }
}

/** The channel closes when the command ends, at any moment. */
function tell(child: ChildProcess, message: ToInside, socket?: Socket): void {
  if (!child.connected) socket?.destroy()
  else child.send(message, socket, {}, (error) => error && socket?.destroy())
}

const SETUP = `set -e
ip=$1 nft=$2
"$ip" link set lo up
"$ip" route add local 0.0.0.0/0 dev lo
"$ip" -6 route add local ::/0 dev lo 2>/dev/null || true
"$nft" -f "$3"
{ echo "$4" >/proc/sys/net/ipv4/ip_unprivileged_port_start; } 2>/dev/null || true
shift 4
while test "$1" != --; do mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"`

function ruleset({ mappings }: Settings): string {
  const mapped = [...new Set(mappings.map(({ port }) => port))].join(', ')
  const toMapped = (loopback: string) =>
    mapped ? `    ${loopback} tcp dport { ${mapped} } redirect to :${INTERCEPT_PORT}\n` : ''
  return `table inet fairway_tunnel {
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr 127.128.0.0/9 meta l4proto tcp redirect to :${INTERCEPT_PORT}
${toMapped('ip daddr 127.0.0.0/8')}${toMapped('ip6 daddr ::1')}    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    meta l4proto tcp redirect to :${INTERCEPT_PORT}
  }
}
`
}

/** A new network namespace has the kernel's default; the command may listen where it may outside. */
function unprivilegedPorts(): string {
  try {
    return readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8').trim()
  } catch {
    return '1024'
  }
}
