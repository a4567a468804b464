/**
 * Keys in the store: `kind/parent/.../id`. No segment may contain a slash; names are checked before
 * they come here.
 */
export const keys = {
  region: (code: string) => `region/${code}`,
  host: (id: string) => `host/${id}`,
  hostLive: (id: string) => `host-live/${id}`,
  org: (slug: string) => `org/${slug}`,
  network: (org: string, name: string) => `network/${org}/${name}`,
  networkId: (id: number) => `network-id/${id.toString(16).padStart(8, '0')}`,
  app: (name: string) => `app/${name}`,
  address: (address: string) => `address/${address}`,
  endpoint: (app: string, machine: string) => `endpoint/${app}/${machine}`,
  /** Who may have requests to the app explained, under a lease. */
  explainGrant: (app: string, id: string) => `explain/${app}/${id}`,
  /** Ordered by host, so that a host follows its own with one prefix. */
  machine: (host: string, machine: string) => `machine/${host}/${machine}`,
  /** Claims a machine's private IPv4, and with it its slot on the host. */
  slot: (host: string, slot: number) => `slot/${host}/${String(slot).padStart(5, '0')}`,
  /** Where a machine is: {"app","host"}. Outlives the machine while its last state can be read. */
  machineId: (machine: string) => `machine-id/${machine}`,
  /** Claims a machine's name within its app; the value is the machine's id. */
  machineName: (app: string, name: string) => `machine-name/${app}/${name}`,
  /** A machine's last record, under a lease, so that its end can be read for a while. */
  destroyed: (app: string, machine: string) => `destroyed/${app}/${machine}`,
  status: (machine: string) => `status/${machine}`,
  lease: (machine: string) => `machine-lease/${machine}`,
  release: (app: string, version: number) => `release/${app}/${String(version).padStart(9, '0')}`,
  secrets: (app: string) => `secrets/${app}`,
  token: (sha256Hex: string) => `token/${sha256Hex}`,
  artifact: (app: string, digestHex: string) => `artifact/${app}/${digestHex}`,
  /** An org's apps by name. */
  orgApp: (org: string, name: string) => `org-app/${org}/${name}`,
  /** An app that is gone, while what it held is still being given back. */
  appDeleting: (name: string) => `app-deleting/${name}`,
  /** An app's addresses; the shared IPv4 is not among them. */
  appAddress: (app: string, kind: string, address: string) =>
    `app-address/${app}/${kind}/${address}`,
  /** How many dedicated IPv4 addresses the app has. */
  dedicatedCount: (app: string) => `dedicated-count/${app}`,
  egress: (pair: string) => `egress/${pair}`,
  /** Which egress pairs an app has, and what a change of them has still to do; absent without any. */
  appEgress: (app: string) => `app-egress/${app}`,
  /** Apps whose change of egress is not finished. */
  egressPending: (app: string) => `egress-pending/${app}`,
  /** An egress address that an org holds, for its metering. */
  egressHeld: (org: string, address: string) => `egress-held/${org}/${address}`,
  /** One that it held until `toMs`. */
  egressWasHeld: (org: string, toMs: number, fromMs: number, address: string) =>
    `egress-was-held/${org}/${String(toMs).padStart(15, '0')}/${fromMs}/${address}`,
  /** The pair that an egress address belongs to, or its rest after its release. */
  egressAddress: (address: string) => `egress-address/${address}`,
  /** An outbound proxy: its credentials as hashes, limits and destinations. */
  outbound: (id: string) => `outbound/${id}`,
  /** Claims a proxy's number, also while it rests after its proxy; the value has the proxy's id. */
  outboundIndex: (index: number) => `outbound-index/${String(index).padStart(4, '0')}`,
  orgOutbound: (org: string, id: string) => `org-outbound/${org}/${id}`,
  parkedAddress: (org: string, address: string) => `parked-address/${org}/${address}`,
  /** Released addresses, by the time (ms) at which their quarantine ends. */
  quarantine: (kind: string, untilMs: number, address: string) =>
    `quarantine/${kind}/${String(untilMs).padStart(15, '0')}/${address}`,
  /** Addresses that were used before, least recently used first. */
  freeAddress: (kind: string, sinceMs: number, address: string) =>
    `free-address/${kind}/${String(sinceMs).padStart(15, '0')}/${address}`,
  /** How many addresses of a pool's prefix have been given out for the first time. */
  poolCursor: (prefix: string) => `pool-cursor/${prefix.replace('/', '_')}`,
  /** A number that only grows. */
  counter: (name: string) => `counter/${name}`,
  /** The newest release's version. */
  releaseHead: (app: string) => `release-head/${app}`,
  /** Look-up of a release by id: `{"app","version"}`. */
  releaseId: (id: string) => `release-id/${id}`,
  secretsVersion: (app: string, version: number) =>
    `secrets-version/${app}/${String(version).padStart(9, '0')}`,
  /** Which apps use an artifact. */
  artifactUse: (digestHex: string, app: string) => `artifact-use/${digestHex}/${app}`,
} as const

/** What every host may see. */
export const PUBLIC_PREFIXES = [
  'region/',
  'host/',
  'host-live/',
  'app/',
  'address/',
  'endpoint/',
  'explain/',
  'egress/',
  'outbound/',
] as const

/** What one host's agent follows. */
export const hostPrefixes = (host: string): readonly string[] => [
  ...PUBLIC_PREFIXES,
  `machine/${host}/`,
]
