import { parseIp } from '../base/ip.ts'
import { isWireguardKey, type WireguardPeer } from '../kernel/wg.ts'
import type { Host } from '../model/resources.ts'
import { PORTS } from '../model/wire.ts'

export interface PeerPlan {
  readonly peers: readonly WireguardPeer[]
  /** Hosts that cannot be peers, and why; the others are not held up by them. */
  readonly problems: readonly string[]
}

/** Prefixes that a host owns in the mesh. */
export const meshPrefix = (hostIndex: number): string => `fdaa:0:0:${hostIndex.toString(16)}::/64`

/**
 * Every other host of the fleet as a peer. `carried` names further prefixes that live behind a host:
 * parts of private networks, or single machines that moved.
 */
export function planMesh(
  hosts: readonly Host[],
  self: string,
  carried: ReadonlyMap<string, readonly string[]> = new Map(),
): PeerPlan {
  const peers: WireguardPeer[] = []
  const problems: string[] = []
  const owners = new Map<string, string>()
  const others = hosts.filter((host) => host.id !== self && host.meshPublicKey !== null)
  for (const host of others.toSorted((a, b) => a.index - b.index)) {
    const key = host.meshPublicKey!
    const underlay = parseIp(host.underlayV4)
    if (!isWireguardKey(key)) problems.push(`host ${host.id}: meshPublicKey is not a key`)
    else if (owners.has(key))
      problems.push(`host ${host.id}: meshPublicKey belongs to host ${owners.get(key)}`)
    else if (underlay?.family !== 4)
      problems.push(`host ${host.id}: underlayV4 ${host.underlayV4} is not an IPv4 address`)
    else {
      owners.set(key, host.id)
      peers.push({
        publicKey: key,
        endpoint: `${host.underlayV4}:${PORTS.mesh}`,
        allowedIps: [meshPrefix(host.index), ...(carried.get(host.id) ?? [])],
      })
    }
  }
  return { peers, problems }
}

export type PeerOp =
  | { readonly kind: 'set'; readonly peer: WireguardPeer }
  | { readonly kind: 'remove'; readonly publicKey: string }

/**
 * What to change so that the interface has the desired peers. Sets come first: a prefix then moves
 * from a host's old key to its new one in one step.
 */
export function planPeers(
  desired: readonly WireguardPeer[],
  observed: readonly WireguardPeer[],
): PeerOp[] {
  const have = new Map(observed.map((p) => [p.publicKey, p]))
  const want = new Set(desired.map((p) => p.publicKey))
  return [
    ...desired
      .filter((p) => !samePeer(p, have.get(p.publicKey)))
      .map((peer): PeerOp => ({ kind: 'set', peer })),
    ...observed
      .filter((p) => !want.has(p.publicKey))
      .map(({ publicKey }): PeerOp => ({ kind: 'remove', publicKey })),
  ]
}

function samePeer(a: WireguardPeer, b: WireguardPeer | undefined): boolean {
  if (!b || a.endpoint !== b.endpoint || a.allowedIps.length !== b.allowedIps.length) return false
  const has = new Set(b.allowedIps)
  return a.allowedIps.every((prefix) => has.has(prefix))
}

/** One `wg set` does all of it. Holds no secret, so that argv may carry it. */
export const wgSetArguments = (device: string, ops: readonly PeerOp[]): string[] => [
  'wg',
  'set',
  device,
  ...ops.flatMap((op) =>
    op.kind === 'remove'
      ? ['peer', op.publicKey, 'remove']
      : [
          'peer',
          op.peer.publicKey,
          ...(op.peer.endpoint ? ['endpoint', op.peer.endpoint] : []),
          'allowed-ips',
          op.peer.allowedIps.join(','),
        ],
  ),
]
