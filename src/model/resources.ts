import { z } from 'zod'
import { HANDLERS, MachineConfig } from './machine-config.ts'
import { ServiceOptions } from './service-options.ts'

/**
 * The resources in the store. Each has one key (keys.ts) and one JSON value of one of these shapes.
 * Those marked *public* are streamed to every host, because edges route by them: nothing secret and
 * nothing large may stand in them. The others stay with the control plane, or go to one host only.
 */

const isoTime = z.string()

/** A region of the operator's fleet. Public. */
export const Region = z.object({
  code: z.string(),
  name: z.string(),
  latitude: z.number(),
  longitude: z.number(),
  geoRegion: z.string(),
  /** Distance to other regions in milliseconds of round trip, by code; the operator's setting. */
  distancesMs: z.record(z.string(), z.number()),
})
export type Region = z.infer<typeof Region>

/** Each host has a /20 of 172.16.0.0/12 for its machines; the last /20 is the outbound proxies'. */
export const HOST_INDEX_MAX = 255

/** A server that runs machines and an edge. Public. */
export const Host = z.object({
  id: z.string(),
  region: z.string(),
  /** Part of addresses (6PN host field, mesh address), never reused for another host. */
  index: z.number().int().min(1).max(HOST_INDEX_MAX),
  underlayV4: z.string(),
  underlayV6: z.string(),
  /** WireGuard public key (base64) of the host's end of the mesh; null until it has reported. */
  meshPublicKey: z.string().nullable(),
})
export type Host = z.infer<typeof Host>

/** Present (under a lease) while the host's agent reports. Public. */
export const HostLive = z.object({ id: z.string(), since: isoTime })
export type HostLive = z.infer<typeof HostLive>

export const Org = z.object({
  id: z.string(),
  numericId: z.number().int(),
  slug: z.string(),
  name: z.string(),
  type: z.enum(['PERSONAL', 'SHARED']),
  createdAt: isoTime,
  /** X14: whether an app may have a shared IPv4 beside a dedicated one. */
  allowSharedBesideDedicated: z.boolean(),
})
export type Org = z.infer<typeof Org>

/** A private network of an org. `id` is the 32 network bits of its 6PN addresses (N2), never reused. */
export const Network = z.object({ id: z.number().int().min(1), org: z.string(), name: z.string() })
export type Network = z.infer<typeof Network>

/** A part of an app's new requests, for the machines of one release. */
export const ReleaseShare = z.object({
  version: z.number().int().min(1),
  weight: z.number().int().min(0),
})
export type ReleaseShare = z.infer<typeof ReleaseShare>

/** Public. */
export const App = z.object({
  id: z.string(),
  numericId: z.number().int(),
  name: z.string(),
  org: z.string(),
  network: z.string(),
  networkId: z.number().int(),
  /** The shared IPv4 that routes to the app by name, or null. */
  sharedV4: z.string().nullable(),
  status: z.enum(['pending', 'deployed', 'suspended']),
  createdAt: isoTime,
  /** Null: a machine's release does not matter. Else some weight is above 0. */
  releaseSplit: z.array(ReleaseShare).min(1).nullable().default(null),
})
export type App = z.infer<typeof App>

/**
 * An address that is not free. Public. `app` null and state `parked`: held by its org, answering
 * nothing. `quarantined`: released, not yet to be given out again. A shared IPv4 has no app and no
 * org: its apps name it in `sharedV4`.
 */
export const Address = z.object({
  id: z.string(),
  address: z.string(),
  kind: z.enum(['v4', 'v6', 'shared_v4', 'private_v6']),
  state: z.enum(['attached', 'parked', 'quarantined', 'shared']),
  org: z.string().nullable(),
  app: z.string().nullable(),
  network: z.string().nullable(),
  /** `global` (anycast) or the code of the one region that announces it. */
  region: z.string(),
  serviceName: z.string().nullable(),
  createdAt: isoTime,
  /** Milliseconds since the epoch; only in state `quarantined`. */
  quarantinedUntilMs: z.number().nullable(),
})
export type Address = z.infer<typeof Address>

const EndpointPort = z.object({
  /** Inclusive range of external ports; equal for a single one. */
  start: z.number().int(),
  end: z.number().int(),
  handlers: z.array(z.enum(HANDLERS)),
  forceHttps: z.boolean(),
  /** As configured (flyctl-api 7.1); the edge reads what it knows. */
  httpOptions: z.record(z.string(), z.unknown()).nullable(),
  tlsOptions: z.record(z.string(), z.unknown()).nullable(),
  proxyProtoVersion: z.enum(['v1', 'v2']),
})
export const EndpointService = z.object({
  protocol: z.enum(['tcp', 'udp']),
  internalPort: z.number().int(),
  ports: z.array(EndpointPort),
  concurrency: z.object({
    type: z.enum(['connections', 'requests']),
    soft: z.number().int(),
    hard: z.number().int().nullable(),
  }),
  autostart: z.boolean(),
  /** Bucket of load, reported by the machine's host: below soft, soft to hard, at hard (L2). */
  load: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  /** Every service check passes, or there is none (S36). */
  healthy: z.boolean(),
  /** When it last began to serve (started, every check passes), in ms since the epoch; null: it does not. */
  upSinceMs: z.number().nullable().default(null),
  /** Null when the service asks for none of them. */
  options: ServiceOptions.nullable().default(null),
})
export type EndpointService = z.infer<typeof EndpointService>

/** A machine as edges see it. Public. Exists from creation to destruction. */
export const Endpoint = z.object({
  machine: z.string(),
  app: z.string(),
  host: z.string(),
  region: z.string(),
  group: z.string(),
  /** Version of the release that it runs; null when it is of none. */
  release: z.number().int().nullable().default(null),
  /** Private IPv4 (its host dials it) and 6PN address. */
  v4: z.string(),
  v6: z.string(),
  state: z.string(),
  /** Cordoned, or created with skip_service_registration: no traffic (S41). */
  cordoned: z.boolean(),
  services: z.array(EndpointService),
})
export type Endpoint = z.infer<typeof Endpoint>

/**
 * A token by which requests to an app may be explained (`Fairway-Explain`). Public: only its SHA-256 is
 * here, of 256 random bits. It goes with its lease; `expiresAtMs` is for edges that hear of that late.
 */
export const ExplainGrant = z.object({
  id: z.string(),
  app: z.string(),
  /** An app of the same name in another org is not meant. */
  org: z.string(),
  /** 64 hexadecimal digits. */
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  expiresAtMs: z.number(),
})
export type ExplainGrant = z.infer<typeof ExplainGrant>
export const EXPLAIN_GRANTS_PER_APP_MAX = 16

export const MACHINE_STATES = [
  'created',
  'starting',
  'started',
  'stopping',
  'stopped',
  'suspending',
  'suspended',
  'replacing',
  'restarting',
  'destroying',
  'destroyed',
  'failed',
] as const
export type MachineState = (typeof MACHINE_STATES)[number]

/** A pair's ports in slots of EGRESS_SLOT_PORTS: slot s is ports s*1024 to s*1024+1023, without port 0. */
export const EGRESS_SLOTS = 64
export const EGRESS_SLOT_PORTS = 1024

/** Numbers of outbound proxies: 0 to this. */
export const OUTBOUND_INDEX_MAX = 1_023

const egressSlots = {
  /** First of `count` adjacent slots. */
  slot: z
    .number()
    .int()
    .min(0)
    .max(EGRESS_SLOTS - 1),
  count: z.number().int().min(1).max(EGRESS_SLOTS),
}

/** Adjacent slots of a pair and who sends from them. */
export const EgressBlock = z.object({
  ...egressSlots,
  /** The host that translates to them, and that return traffic is steered to. */
  host: z.string(),
  /** The machine that sends from them; null for the host's outbound proxy. */
  machine: z.string().nullable(),
  /** `drain`: no new flows; steered until the host reports that the last flow has ended. */
  state: z.enum(['use', 'drain']),
})
export type EgressBlock = z.infer<typeof EgressBlock>

/**
 * A pair of egress addresses, its owner and its blocks (E2 to E10). Public: every host of `regions`
 * steers return traffic by it. Blocks do not overlap, draining ones included.
 */
export const EgressPair = z.object({
  id: z.string(),
  /** Either of a pair can be released alone; then there is no source of that family. */
  v4: z.string().nullable(),
  v6: z.string().nullable(),
  org: z.string(),
  /** The app whose machines use it; null when it is an outbound proxy's. */
  app: z.string().nullable(),
  /** Machine-scoped (E9): this machine's alone, before every other pair, and gone with it. */
  machine: z.string().nullable(),
  /** The outbound proxy that it belongs to. */
  outbound: z.string().nullable(),
  /** Regions whose machines use it and whose hosts announce it, home first; `global` is all. */
  regions: z.array(z.string()).min(1),
  /** Kept for one process group or one machine of the app; null is for those without such a pair. */
  pin: z.union([z.object({ group: z.string() }), z.object({ machine: z.string() })]).nullable(),
  /** `draining`: no machine is given a block of it. */
  state: z.enum(['active', 'draining']),
  blocks: z.array(EgressBlock),
  createdAt: isoTime,
  updatedAt: isoTime,
})
export type EgressPair = z.infer<typeof EgressPair>

/** The static source of a machine. A family that is null cannot leave the host at all. */
export const MachineEgress = z.object({
  pair: z.string(),
  v4: z.string().nullable(),
  v6: z.string().nullable(),
  ...egressSlots,
})
export type MachineEgress = z.infer<typeof MachineEgress>

/**
 * An outbound proxy (E12, E13): two pairs of addresses that its clients send from, wherever they run.
 * Public: of a credential only the SHA-256 of its secret, which has 256 random bits, is kept.
 */
export const OutboundProxy = z.object({
  id: z.string(),
  /** Rests before another one gets it: the private addresses on every host follow from it. */
  index: z.number().int().min(0).max(OUTBOUND_INDEX_MAX),
  name: z.string(),
  org: z.string(),
  pairs: z.array(z.string()).length(2),
  /** `name` is the user name and unique among all proxies; `hash` is hexadecimal. */
  credentials: z.array(
    z.object({
      name: z.string(),
      hash: z.string().regex(/^[0-9a-f]{64}$/),
      createdAt: isoTime,
      expiresAt: isoTime.nullable(),
    }),
  ),
  /** Of each credential on each host; null is none. */
  limits: z.object({
    connections: z.number().int().min(1).nullable(),
    newPerSecond: z.number().int().min(1).nullable(),
    bytesPerSecond: z.number().int().min(1_024).nullable(),
  }),
  /** Destinations; empty: all that are public. */
  allow: z.array(z.string()),
  /** The app's secret that holds its URL. */
  secret: z.object({ app: z.string(), name: z.string() }).nullable(),
  createdAt: isoTime,
  updatedAt: isoTime,
})
export type OutboundProxy = z.infer<typeof OutboundProxy>

/** What a machine should be. Streamed to its host only. Secrets are fetched at launch, never here. */
export const Machine = z.object({
  id: z.string(),
  name: z.string(),
  app: z.string(),
  org: z.string(),
  networkId: z.number().int(),
  host: z.string(),
  region: z.string(),
  v4: z.string(),
  v6: z.string(),
  /** ULID, new with each change of `config`: the machine's version. */
  instanceId: z.string(),
  config: MachineConfig,
  /** What the host should bring it to; `destroyed` stays until the host has confirmed. */
  desired: z.enum(['created', 'started', 'stopped', 'destroyed']),
  /**
   * Counts requests to act. The host acts once for each new number, so that a restart is a change of
   * the number, and a machine that exited by itself stays down until somebody asks again.
   */
  generation: z.number().int(),
  /** How to act for this generation; absent means the config's own. */
  action: z
    .object({
      restart: z.boolean().optional(),
      signal: z.string().optional(),
      timeoutMs: z.number().optional(),
      kill: z.boolean().optional(),
    })
    .nullable(),
  cordoned: z.boolean(),
  secretsVersion: z.number().int(),
  /** Null: default egress, through the host's own addresses. May change while the machine runs. */
  egress: MachineEgress.nullable().default(null),
  /**
   * 6PN address of the machine that this one tests (S38), on the same host, which lets this one reach
   * it; null for all others.
   */
  testTarget: z.string().nullable().default(null),
  createdAt: isoTime,
  updatedAt: isoTime,
})
export type Machine = z.infer<typeof Machine>

export const ExitEvent = z.object({
  exit_code: z.number().int(),
  guest_exit_code: z.number().int(),
  guest_signal: z.number().int(),
  oom_killed: z.boolean(),
  requested_stop: z.boolean(),
  restarting: z.boolean(),
  signal: z.number().int(),
  exited_at: isoTime,
})
export type ExitEvent = z.infer<typeof ExitEvent>

/** One line of a machine's history, in the Machines API's own shape (flyctl-api 4.2). */
export const MachineEvent = z
  .object({
    id: z.string(),
    type: z.string(),
    status: z.string(),
    source: z.enum(['flyd', 'user']),
    timestamp: z.number().int(),
    request: z
      .looseObject({ exit_event: ExitEvent.optional(), restart_count: z.number().int().optional() })
      .optional(),
  })
  .meta({ id: 'MachineEvent' })
export type MachineEvent = z.infer<typeof MachineEvent>

export const CheckStatus = z
  .object({
    name: z.string(),
    status: z.enum(['passing', 'warning', 'critical']),
    output: z.string(),
    updated_at: isoTime,
  })
  .meta({ id: 'CheckStatus' })
export type CheckStatus = z.infer<typeof CheckStatus>

/** What the host saw of a machine; written from its reports. Control plane only. */
export const MachineStatus = z.object({
  machine: z.string(),
  app: z.string(),
  instanceId: z.string(),
  /** The last generation that the host has brought to rest. */
  generation: z.number().int(),
  state: z.enum(MACHINE_STATES),
  checks: z.array(CheckStatus),
  /** Newest first; at most EVENTS_MAX. */
  events: z.array(MachineEvent),
  /** Why the machine's egress is closed although it runs; null when it is as it should be. */
  egressProblem: z.string().nullable().default(null),
  updatedAt: isoTime,
})
export type MachineStatus = z.infer<typeof MachineStatus>
export const EVENTS_MAX = 20

export const MachineLease = z.object({
  nonce: z.string(),
  owner: z.string(),
  description: z.string(),
  expiresAtMs: z.number(),
})
export type MachineLease = z.infer<typeof MachineLease>

export const Release = z.object({
  id: z.string(),
  app: z.string(),
  version: z.number().int(),
  status: z.enum(['pending', 'running', 'complete', 'failed', 'interrupted']),
  strategy: z.string(),
  description: z.string(),
  image: z.string(),
  definition: z.record(z.string(), z.unknown()).nullable(),
  user: z.object({ id: z.string(), email: z.string(), name: z.string() }),
  createdAt: isoTime,
  updatedAt: isoTime,
})
export type Release = z.infer<typeof Release>

/** All secrets of an app: sealed (AES-256-GCM under the control plane's key), never streamed. */
export const AppSecrets = z.object({
  version: z.number().int(),
  values: z.record(
    z.string(),
    z.object({ sealed: z.string(), digest: z.string(), createdAt: isoTime, updatedAt: isoTime }),
  ),
})
export type AppSecrets = z.infer<typeof AppSecrets>

/** An API token; its key holds the SHA-256 of the token, which itself is never kept. */
export const Token = z.object({
  id: z.string(),
  name: z.string(),
  user: z.object({ id: z.string(), email: z.string(), name: z.string() }),
  /** Slugs of the orgs that it may act in. */
  orgs: z.array(z.string()),
  createdAt: isoTime,
})
export type Token = z.infer<typeof Token>
