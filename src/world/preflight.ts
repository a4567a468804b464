import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { delimiter, join } from 'node:path'

/** What stands in the way of a world on this machine, and what to do about it. */
export interface Problem {
  readonly missing: string
  readonly fix: string
}

/** Commands that a world needs, with the Debian package of each. */
export const COMMANDS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nft: 'nftables',
  wg: 'wireguard-tools',
  bird: 'bird2',
  conntrack: 'conntrack',
  runc: 'runc',
  conmon: 'conmon',
  tini: 'tini',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  sysctl: 'procps',
}

/** Everything at once, so that a person mends it in one go. Empty when the machine is ready. */
export function preflight(): Problem[] {
  if (process.platform !== 'linux') {
    return [
      {
        missing: `Linux (this is ${process.platform})`,
        fix: 'run it on a Linux machine or in a virtual machine',
      },
    ]
  }
  return [...missingCommands(), ...namespaces(), ...wireguard(), ...kernel()]
}

/** setpriv and friends may stand in folders that an ordinary user's PATH leaves out. */
export function completePath(): void {
  const have = (process.env.PATH ?? '').split(delimiter)
  const wanted = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  process.env.PATH = [...have, ...wanted.filter((dir) => !have.includes(dir))]
    .filter(Boolean)
    .join(delimiter)
}

const hasCommand = (name: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((dir) => existsSync(join(dir, name)))

function missingCommands(): Problem[] {
  const missing = Object.keys(COMMANDS).filter((name) => !hasCommand(name))
  if (!missing.length) return []
  const packages = [...new Set(missing.map((name) => COMMANDS[name]))].join(' ')
  return [
    { missing: `the commands ${missing.join(', ')}`, fix: `sudo apt-get install ${packages}` },
  ]
}

function namespaces(): Problem[] {
  const argv = [...unshareArgs(), 'true']
  const tried = spawnSync('unshare', argv, { encoding: 'utf8' })
  if (tried.status === 0) return []
  if (userInfo().uid === 0) {
    return [
      {
        missing: `the right to make namespaces (unshare: ${tried.stderr.trim()})`,
        fix: 'run it outside a container, or give the container CAP_SYS_ADMIN',
      },
    ]
  }
  const clone = readSetting('/proc/sys/kernel/unprivileged_userns_clone')
  const apparmor = readSetting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns')
  const fix =
    clone === '0'
      ? 'sudo sysctl -w kernel.unprivileged_userns_clone=1'
      : apparmor === '1'
        ? 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'
        : readSetting('/proc/sys/user/max_user_namespaces') === '0'
          ? 'sudo sysctl -w user.max_user_namespaces=15000'
          : 'run it as root'
  return [
    {
      missing: 'user namespaces for ordinary users (they are switched off)',
      fix: `${fix}, or run it as root`,
    },
  ]
}

/** The kernel's WireGuard, or wireguard-go and a TUN device that we may open. */
function wireguard(): Problem[] {
  if (existsSync('/sys/module/wireguard')) return []
  const probe = inScratch(['ip', 'link', 'add', 'name', 'wg-probe', 'type', 'wireguard'])
  if (probe.status === 0) return []
  if (!hasCommand('wireguard-go')) {
    return [
      {
        missing: 'WireGuard (neither a kernel module nor wireguard-go)',
        fix: 'sudo apt-get install wireguard-go',
      },
    ]
  }
  if (!existsSync('/dev/net/tun'))
    return [{ missing: '/dev/net/tun, which wireguard-go needs', fix: 'sudo modprobe tun' }]
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
    return []
  } catch {
    return [
      {
        missing: 'access to /dev/net/tun, which wireguard-go needs',
        fix: 'sudo chmod 0666 /dev/net/tun (as udev leaves it elsewhere), or run it as root',
      },
    ]
  }
}

const KERNEL_PROBE = `table inet probe {
  set pairs { type ifname . ipv6_addr; }
  chain pre { type filter hook prerouting priority mangle; policy accept;
    meta l4proto tcp tproxy ip to :9000 accept
  }
  chain post { type nat hook postrouting priority srcnat; policy accept;
    meta l4proto tcp snat ip to 198.51.100.1:1024-2047
  }
}
`
/** Between hosts: what return traffic is carried in. */
const OVERLAY_PROBE = `link add name overlay type vxlan external gpe dstport 4790 local ::1
link set dev lo up
link set dev overlay up
route add 198.51.100.1 encap ip6 id 1 dst ::1 src ::1 csum dev overlay
`

function kernel(): Problem[] {
  if (!hasCommand('nft') || !hasCommand('ip')) return []
  const [tables, overlay] = [
    inScratch(['nft', '-f', '-'], KERNEL_PROBE),
    inScratch(['ip', '-batch', '-'], OVERLAY_PROBE),
  ]
  const first = (text: string) => text.trim().split('\n')[0]
  const problems: Problem[] = []
  if (tables.status !== 0)
    problems.push({
      missing: `a kernel feature for nftables (tproxy, nat or sets): ${first(tables.stderr)}`,
      fix: 'sudo modprobe -a nft_tproxy nft_nat nft_ct, or use a kernel that has them',
    })
  if (overlay.status !== 0)
    problems.push({
      missing: `VXLAN with GPE and routes into it: ${first(overlay.stderr)}`,
      fix: 'sudo modprobe vxlan, or use a kernel with CONFIG_VXLAN and CONFIG_LWTUNNEL',
    })
  return problems
}

const inScratch = (argv: string[], input?: string) =>
  spawnSync('unshare', [...unshareArgs(), ...argv], { encoding: 'utf8', input })

const unshareArgs = (): string[] =>
  userInfo().uid === 0 ? ['--net'] : ['--user', '--map-root-user', '--net']

function readSetting(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}
