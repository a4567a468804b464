import { NONE_YET_CONNECTED, NONE_YET_SDL } from './none-yet.ts'

/**
 * The GraphQL schema: what flyctl and its relatives ask for (flyctl-api 3), in their words, and our
 * own `detachIpAddress` and `attachIpAddress`. No type leads back to one that contains it, so that a
 * query's cost is bounded by its text.
 */

/** A connection as every list offers it. */
const connection = (node: string): string => `
  type ${node}Connection {
    nodes: [${node}!]!
    edges: [${node}Edge!]!
    pageInfo: PageInfo!
    totalCount: Int!
  }
  type ${node}Edge { cursor: String! node: ${node}! }`

const CONNECTED = [
  'App',
  'Organization',
  'IPAddress',
  'EgressIPAddress',
  'Machine',
  'MachineIP',
  'Release',
  'HostIssue',
  'AddOn',
]

const QUERY = /* GraphQL */ `
  type Query {
    viewer: Viewer!
    organizations(admin: Boolean, first: Int, after: String): OrganizationConnection!
    organization(slug: String!): Organization!
    platform: Platform!
    nearestRegion(wireguardGateway: Boolean): Region!
    apps(
      type: String
      first: Int
      after: String
      organizationId: ID
      role: String
    ): AppConnection!
    app(name: String!): App!
    machine(machineId: String!): Machine!
    latestImageDetails(image: String!, flyVersion: String): ImageVersion!
  }
  type Mutation {
    allocateIpAddress(input: AllocateIPAddressInput!): AllocateIPAddressPayload!
    releaseIpAddress(input: ReleaseIPAddressInput!): ReleaseIPAddressPayload!
    "Parks a dedicated IPv4 of the app in its organization. Without ip: the app's only one."
    detachIpAddress(input: DetachIPAddressInput!): MoveIPAddressPayload!
    "Gives the app a dedicated IPv4 that its organization has parked, or that another app has."
    attachIpAddress(input: AttachIPAddressInput!): MoveIPAddressPayload!
    "A pair of egress addresses for an app in a region or, deprecated, for one machine alone."
    allocateEgressIpAddress(input: AllocateEgressIPAddressInput!): AllocateEgressIPAddressPayload!
    "One address of the app by ip, or all of a machine by machineId."
    releaseEgressIpAddress(input: ReleaseEgressIPAddressInput!): ReleaseEgressIPAddressPayload!
    "Shares of new requests by release; none: a machine's release does not matter."
    setReleaseSplit(input: SetReleaseSplitInput!): SetReleaseSplitPayload!
  }
`

const COMMON = /* GraphQL */ `
  scalar JSON
  "RFC 3339"
  scalar ISO8601DateTime
  type PageInfo {
    hasNextPage: Boolean!
    hasPreviousPage: Boolean!
    startCursor: String
    endCursor: String
  }
  union Viewer = User | Macaroon
  type User {
    id: ID!
    email: String!
    name: String
    enablePaidHobby: Boolean!
  }
  type Macaroon { email: String! }
  type Organization {
    id: ID!
    "Digits, as text."
    internalNumericId: String!
    slug: String!
    rawSlug: String!
    name: String!
    type: OrganizationType!
    paidPlan: Boolean!
    billable: Boolean!
    viewerRole: String!
    remoteBuilderImage: String
    remoteBuilderApp: AppRef
    members: OrganizationMembers!
    addOns(type: AddOnType, first: Int, after: String): AddOnConnection!
    "Dedicated IPv4 addresses that no app has."
    parkedIpAddresses: IPAddressConnection!
  }
  enum OrganizationType { PERSONAL SHARED }
  type OrganizationMembers {
    nodes: [User!]!
    edges: [OrganizationMember!]!
    totalCount: Int!
  }
  type OrganizationMember {
    cursor: String!
    node: User!
    joinedAt: ISO8601DateTime!
    role: String!
  }
  enum AddOnType {
    arcjet enveloop fly_mysql kubernetes mpg redis sentry slicer supabase tigris upstash_kafka
    upstash_redis upstash_vector wafris
  }
  type AddOn {
    id: ID!
    name: String
    addOnPlan: AddOnPlan
    privateIp: String
    primaryRegion: String
    readRegions: [String!]
    options: JSON
    metadata: JSON
  }
  type AddOnPlan { displayName: String description: String }
  type Platform {
    requestRegion: String
    regions: [Region!]!
    ipAddressPrices: [IPAddressPrice!]!
  }
  type Region {
    code: String!
    name: String!
    latitude: Float
    longitude: Float
    gatewayAvailable: Boolean!
    requiresPaidPlan: Boolean!
    deprecated: Boolean!
  }
`

const APPS = /* GraphQL */ `
  type AppRef { id: ID! name: String! organization: OrganizationRef! }
  type OrganizationRef { id: ID! slug: String! rawSlug: String! name: String! }
  type App {
    id: ID!
    internalNumericId: Int!
    name: String!
    hostname: String
    appUrl: String
    cnameTarget: String
    deployed: Boolean!
    status: String!
    version: Int!
    platformVersion: String
    "Null for the organization's default network."
    network: String
    organization: Organization!
    role: AppRole
    config: AppConfig!
    currentRelease: Release
    currentReleaseUnprocessed: Release
    releases(first: Int, after: String): ReleaseConnection!
    releasesUnprocessed(first: Int, after: String): ReleaseConnection!
    "Empty when a machine's release does not matter."
    releaseSplit: [ReleaseShare!]!
    imageDetails: ImageVersion
    image(ref: String!): Image
    services: [Service!]!
    ipAddresses(first: Int, after: String): IPAddressConnection!
    sharedIpAddress: String
    egressIpAddresses(first: Int, after: String): EgressIPAddressConnection!
    machines(first: Int, after: String, active: Boolean): MachineConnection!
    allocations(showCompleted: Boolean): [Allocation!]!
    hostIssues(first: Int, after: String): HostIssueConnection!
  }
  type AppRole { name: String! }
  type AppConfig { definition: JSON }
  type Allocation { id: ID! region: String! privateIP: String }
  type HostIssue {
    internalId: String!
    message: String!
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
  }
  type Service {
    description: String
    protocol: String!
    internalPort: Int!
    ports: [ServicePort!]!
  }
  "One that covers a range has no port but its ends."
  type ServicePort { port: Int startPort: Int endPort: Int handlers: [String!]! }
  type ReleaseShare { version: Int! weight: Int! }
  type Release {
    id: ID!
    version: Int!
    status: String!
    description: String!
    reason: String!
    stable: Boolean!
    inProgress: Boolean!
    imageRef: String
    evaluationId: String
    configDefinition: JSON
    deploymentStrategy: String!
    user: User!
    createdAt: ISO8601DateTime!
  }
  type ImageVersion {
    registry: String!
    repository: String!
    tag: String!
    version: String!
    digest: String!
  }
  type Image {
    id: ID!
    ref: String!
    digest: String!
    "Bytes, as text of digits."
    compressedSizeFull: String!
    manifest: JSON
  }
  type Machine {
    id: ID!
    name: String!
    state: String!
    region: String!
    instanceId: String!
    config: JSON!
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
    app: AppRef!
    host: MachineHost!
    ips: MachineIPConnection!
    egressIpAddresses: EgressIPAddressConnection!
  }
  type MachineHost { id: ID! }
  type MachineIP { family: String! kind: String! ip: String! maskSize: Int! }
`

const ADDRESSES = /* GraphQL */ `
  enum IPAddressType { v4 v6 private_v6 shared_v4 }
  type IPAddress {
    id: ID!
    address: String!
    type: IPAddressType!
    region: String
    createdAt: ISO8601DateTime!
    "Of a private address: the network from which it can be reached."
    network: IPAddressNetwork
    serviceName: String
    "What it costs; decimal text."
    pricePerMonth: String!
    currency: String!
  }
  type IPAddressNetwork { name: String! organization: IPAddressOrganization! }
  type IPAddressOrganization { slug: String! }
  type IPAddressPrice { type: IPAddressType! perMonth: String! currency: String! }
  type EgressIPAddress {
    id: ID!
    ip: String!
    version: Int!
    region: String!
    updatedAt: ISO8601DateTime!
  }
  input AllocateEgressIPAddressInput {
    appId: ID!
    machineId: String
    region: String
    clientMutationId: String
  }
  type AllocateEgressIPAddressPayload {
    v4: String!
    v6: String!
    "Live hosts that had not brought the change in force when the reply was sent."
    hostsWaiting: [String!]!
    "What to do instead of what was asked for and is deprecated."
    notice: String
    clientMutationId: String
  }
  input ReleaseEgressIPAddressInput {
    appId: ID!
    machineId: String
    ip: String
    clientMutationId: String
  }
  type ReleaseEgressIPAddressPayload {
    v4: String
    v6: String
    hostsWaiting: [String!]!
    clientMutationId: String
  }
  input AllocateIPAddressInput {
    appId: ID!
    type: IPAddressType!
    region: String
    organizationId: ID
    network: String
    serviceName: String
    clientMutationId: String
  }
  type AllocateIPAddressPayload {
    app: App!
    ipAddress: IPAddress
    clientMutationId: String
  }
  input ReleaseShareInput { version: Int! weight: Int! }
  input SetReleaseSplitInput {
    appId: ID!
    shares: [ReleaseShareInput!]!
    clientMutationId: String
  }
  type SetReleaseSplitPayload { app: App! clientMutationId: String }
  input ReleaseIPAddressInput {
    appId: ID!
    ipAddressId: ID
    ip: String
    serviceName: String
    clientMutationId: String
  }
  type ReleaseIPAddressPayload {
    app: App!
    "The shared IPv4 that the app got back because its last dedicated one is gone."
    revertedTo: String
    "Why it got none although it has no IPv4 left."
    notRevertedReason: String
    clientMutationId: String
  }
  input DetachIPAddressInput { appId: ID! ip: String clientMutationId: String }
  input AttachIPAddressInput { appId: ID! ip: String! clientMutationId: String }
  type MoveIPAddressPayload {
    app: App!
    ipAddress: IPAddress!
    "The app that had the address before, if any."
    from: String
    "Hosts whose edges had not switched yet when the reply was sent."
    edgesWaiting: [String!]!
    "As for releaseIpAddress, of the app that lost the address."
    revertedTo: String
    notRevertedReason: String
    clientMutationId: String
  }
`

const SECRETS = /* GraphQL */ `
  extend type Mutation {
    "Machines get them when they start next: nothing is released."
    setSecrets(input: SetSecretsInput!): SecretsPayload!
    unsetSecrets(input: UnsetSecretsInput!): SecretsPayload!
  }
  input SetSecretsInput {
    appId: ID!
    secrets: [SecretInput!]!
    "Unsets all others."
    replaceAll: Boolean
    clientMutationId: String
  }
  input SecretInput { key: String! value: String! }
  input UnsetSecretsInput { appId: ID! keys: [String!]! clientMutationId: String }
  type SecretsPayload { app: App! release: Release clientMutationId: String }
  extend type App { secrets: [Secret!]! }
  type Secret { id: ID! name: String! digest: String! createdAt: ISO8601DateTime! }
`

export const SDL = [
  ...[QUERY, COMMON, APPS, ADDRESSES, SECRETS, NONE_YET_SDL],
  ...[...CONNECTED, ...NONE_YET_CONNECTED].map(connection),
].join('\n')
