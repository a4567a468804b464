import type {
  Endpoint,
  EndpointService,
  ExplainGrant,
  Region,
  ReleaseShare,
} from '../model/resources.ts'
import type { ServiceOptions } from '../model/service-options.ts'

/** What an edge needs to know, as look-ups in memory. Implemented by `EdgeIndex` (edge-index.ts). */
export interface EdgeView {
  /** The state that the view shows. */
  readonly revision: number
  /** Who answers at a public or private address; undefined when the address is not ours or parked. */
  address(address: string): AddressOwner | undefined
  app(name: string): AppRoutes | undefined
  host(id: string): HostRoute | undefined
  region(code: string): Region | undefined
  /** Tokens by which requests to the app may be explained; mostly none. */
  explainGrants(app: string): readonly ExplainGrant[]
  /** Round trip between regions in milliseconds; 0 for the same one. Unknown pairs: a large number. */
  distanceMs(from: string, to: string): number
}

export type AddressOwner =
  | { readonly kind: 'app'; readonly app: AppRoutes }
  /** A shared IPv4: the app is found by Host header or SNI, and must name this address. */
  | { readonly kind: 'shared'; readonly address: string }

/** Immutable; a change of anything in it makes a new one. */
export interface AppRoutes {
  readonly name: string
  readonly org: string
  readonly networkId: number
  readonly sharedV4: string | null
  /** The service port that external port `port` reaches, or undefined (S1). */
  port(protocol: 'tcp' | 'udp', port: number): PortRoute | undefined
  readonly endpoints: readonly Endpoint[]
}

/** One external port of an app: how to treat the connection, and who can serve it (S4). */
export interface PortRoute {
  readonly app: string
  readonly port: number
  readonly handlers: readonly EndpointService['ports'][number]['handlers'][number][]
  readonly forceHttps: boolean
  readonly httpOptions: Readonly<Record<string, unknown>> | null
  readonly tlsOptions: Readonly<Record<string, unknown>> | null
  readonly proxyProtoVersion: 'v1' | 'v2'
  /** Shares of new requests by release; null: it does not matter. */
  readonly split: readonly ReleaseShare[] | null
  /** The service's port on the machine. */
  readonly internalPort: number
  /** Null when the service asks for none of them, as most do. */
  readonly options: ServiceOptions | null
  /** When the latest of the candidates began to serve; 0 when none does. */
  readonly upSinceMsMax: number
  /** Every machine whose config exposes the port, in any state: balancing decides. */
  readonly candidates: readonly Candidate[]
}

export interface Candidate {
  readonly endpoint: Endpoint
  /** Index into `endpoint.services`. */
  readonly service: number
}

export interface HostRoute {
  readonly id: string
  readonly region: string
  readonly meshAddress: string
  /** Its agent reports. A host that is not live may still serve; it is chosen last. */
  readonly live: boolean
}
