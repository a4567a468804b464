import { parsePrefix } from '../base/ip.ts'

/** Configurations for BIRD 2, as text. Pure: the same input gives the same file. */

export interface BirdHost {
  readonly routerId: string
  readonly as: number
  readonly device: string
  readonly localV4: string
  readonly localV6: string
  readonly routerV4: string
  readonly routerV6: string
  readonly routerAs: number
  /** The prefixes that the host announces while its edge answers. */
  readonly announce: readonly string[]
  /** The prefixes of static sources, which it announces always: return traffic needs no edge. */
  readonly egress: readonly string[]
  readonly files: BirdFiles
}

/** Files that the configuration includes; whoever writes one asks BIRD to read again (bird-files.ts). */
export interface BirdFiles {
  /** `servingText`: whether the anycast protocols are on. */
  readonly serving: string
  /** Further routes (announcer.ts), that follow the edge: addresses of the host's region. */
  readonly v4: string
  readonly v6: string
  /** Further routes that do not: static sources that several regions share. */
  readonly egress4: string
  readonly egress6: string
}

export const servingText = (isServing: boolean): string => (isServing ? '' : '  disabled yes;\n')

/**
 * Failure detection: BIRD shares a small machine's cores with what it guards, and machines pause, so
 * that two seconds of silence (7 x 300 ms) are the shortest that are not mistaken. A process that dies
 * is seen at once, because its BGP connection is reset.
 */
const BFD = 'min rx interval 300 ms; min tx interval 300 ms; multiplier 7;'
const TIMERS =
  'hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1,3;'

/**
 * A host: announces its prefixes to its router and learns nothing. There is no `kernel` protocol, so
 * the blackhole routes that carry the announcements never reach the host's own tables.
 */
export function hostConfig(host: BirdHost): string {
  const [v4, v6] = byFamily(host.announce)
  const [egress4, egress6] = byFamily(host.egress)
  const { files } = host
  return `log stderr all;
router id ${host.routerId};
protocol device { scan time 10; }
protocol bfd { interface "${host.device}" { ${BFD} }; }
protocol static anycast4 { ipv4;
include "${files.serving}";
${routes(v4)}
include "${files.v4}";
}
protocol static anycast6 { ipv6;
include "${files.serving}";
${routes(v6)}
include "${files.v6}";
}
protocol static egress4 { ipv4;
${routes(egress4)}
include "${files.egress4}";
}
protocol static egress6 { ipv6;
${routes(egress6)}
include "${files.egress6}";
}
protocol bgp up4 { local ${host.localV4} as ${host.as}; neighbor ${host.routerV4} as ${host.routerAs}; bfd on; ${TIMERS}
  ipv4 { import none; export where source = RTS_STATIC; }; }
protocol bgp up6 { local ${host.localV6} as ${host.as}; neighbor ${host.routerV6} as ${host.routerAs}; bfd on; ${TIMERS}
  ipv6 { import none; export where source = RTS_STATIC; }; }
`
}

export interface BirdRouter {
  readonly routerId: string
  readonly as: number
  readonly peers: readonly {
    readonly name: string
    readonly device: string
    readonly localV4: string
    readonly localV6: string
    readonly remoteV4: string
    readonly remoteV6: string
    readonly remoteAs: number
    readonly kind: 'host' | 'router'
    /** Turned into AS path prepends, one for each 10 ms: path length is then distance, summed up. */
    readonly distanceMs: number
    /** A host's own prefixes, which nobody else may announce. */
    readonly own: readonly string[]
  }[]
  /** What every host may announce; everything else from it is refused. */
  readonly accept: readonly string[]
}

export function routerConfig(router: BirdRouter): string {
  const [v4, v6] = byFamily(router.accept)
  const hosts = router.peers.filter((p) => p.kind === 'host')
  const bfd = hosts.length
    ? `protocol bfd { ${hosts.map((p) => `interface "${p.device}" { ${BFD} };`).join(' ')} }`
    : ''
  return `log stderr all;
router id ${router.routerId};
protocol device { scan time 10; }
protocol direct { ipv4; ipv6; }
protocol kernel k4 { merge paths on limit 16; ipv4 { import none; export where source != RTS_DEVICE; }; }
protocol kernel k6 { merge paths on limit 16; ipv6 { import none; export where source != RTS_DEVICE; }; }
${bfd}
${router.peers.map((p) => peerConfig(router, p, v4, v6)).join('')}`
}

function peerConfig(
  router: BirdRouter,
  p: BirdRouter['peers'][number],
  v4: readonly string[],
  v6: readonly string[],
): string {
  const session = (family: 4 | 6) => {
    const prefixes = family === 4 ? v4 : v6
    const own = byFamily(p.own)[family === 4 ? 0 : 1]
    const [local, remote] = family === 4 ? [p.localV4, p.remoteV4] : [p.localV6, p.remoteV6]
    const channel =
      p.kind === 'host'
        ? `import where net ~ [${[...prefixes.map((x) => `${x}+`), ...own].join(', ')}]; export none;`
        : `next hop self; import all; export filter { ${prepend(router.as, p.distanceMs)}accept; };`
    return `protocol bgp ${p.name}_${family} { local ${local} as ${router.as}; neighbor ${remote} as ${p.remoteAs};${p.kind === 'host' ? ' bfd on;' : ''} ${TIMERS}
  ipv${family} { ${channel} }; }
`
  }
  return (
    (v4.length || p.kind === 'router' ? session(4) : '') +
    (v6.length || p.kind === 'router' ? session(6) : '')
  )
}

const prepend = (as: number, distanceMs: number): string =>
  `bgp_path.prepend(${as}); `.repeat(Math.ceil(distanceMs / 10))

/** The content of included files for single addresses. */
export function hostRoutes(addresses: readonly string[]): { v4: string; v6: string } {
  const [v4, v6] = byFamily(addresses)
  return { v4: routes(v4.map((a) => `${a}/32`)), v6: routes(v6.map((a) => `${a}/128`)) }
}

const routes = (prefixes: readonly string[]): string =>
  prefixes.map((p) => `  route ${p} blackhole;\n`).join('')

function byFamily(prefixes: readonly string[]): [string[], string[]] {
  const of = (family: 4 | 6) => prefixes.filter((p) => parsePrefix(p)?.family === family)
  return [of(4), of(6)]
}
