import { FairwayError, notFound } from '../../base/errors.ts'
import { getApp } from '../../control/apps.ts'
import { getOrg } from '../../control/orgs.ts'
import { connection, type GraphqlContext } from './context.ts'

/**
 * Certificates, WireGuard peers and tokens by GraphQL (flyctl-api 3.4, 3.5): clients find that there are
 * none, and whoever asks for one is told that it cannot be had yet.
 */

export const NONE_YET_CONNECTED = ['AppCertificate', 'WireGuardPeer', 'DelegatedWireGuardToken']

export const NONE_YET_SDL = /* GraphQL */ `
  extend type App {
    certificates(first: Int, after: String): AppCertificateConnection!
  }
  extend type Organization {
    wireGuardPeers(first: Int, after: String): WireGuardPeerConnection!
    wireGuardPeer(name: String!): WireGuardPeer!
    delegatedWireGuardTokens(first: Int, after: String): DelegatedWireGuardTokenConnection!
  }
  extend type Mutation {
    addCertificate(appId: ID!, hostname: String!): CertificatePayload!
    checkCertificate(input: CheckCertificateInput!): CertificatePayload!
    deleteCertificate(appId: ID!, hostname: String!): DeleteCertificatePayload!
    addWireGuardPeer(input: AddWireGuardPeerInput!): AddWireGuardPeerPayload!
    removeWireGuardPeer(input: RemoveWireGuardPeerInput!): RemoveWireGuardPeerPayload!
    "Which of these peers are gone: all of them, since there are none."
    validateWireGuardPeers(input: ValidateWireGuardPeersInput!): ValidateWireGuardPeersPayload!
    createDelegatedWireGuardToken(
      input: DelegatedWireGuardTokenInput!
    ): DelegatedWireGuardTokenPayload!
    deleteDelegatedWireGuardToken(
      input: DelegatedWireGuardTokenInput!
    ): DelegatedWireGuardTokenPayload!
    createLimitedAccessToken(input: CreateLimitedAccessTokenInput!): LimitedAccessTokenPayload!
    deleteAddOn(input: DeleteAddOnInput!): DeleteAddOnPayload!
  }
  type AppCertificate {
    id: ID!
    hostname: String!
    clientStatus: String!
    source: String!
    configured: Boolean!
    acmeDnsConfigured: Boolean!
    acmeAlpnConfigured: Boolean!
    certificateAuthority: String!
    dnsProvider: String!
    dnsValidationInstructions: String!
    dnsValidationHostname: String!
    dnsValidationTarget: String!
    isApex: Boolean!
    isWildcard: Boolean!
    issued: IssuedCertificates!
    validationErrors: [CertificateProblem!]!
    createdAt: ISO8601DateTime!
  }
  type IssuedCertificates { nodes: [IssuedCertificate!]! }
  type IssuedCertificate { type: String! expiresAt: ISO8601DateTime! }
  type CertificateProblem {
    errorCode: String
    message: String!
    remediation: String
    timestamp: ISO8601DateTime!
  }
  type CertificateCheck {
    aRecords: [String!]!
    aaaaRecords: [String!]!
    cnameRecords: [String!]!
    soa: String
    dnsProvider: String
    dnsVerificationRecord: String
    resolvedAddresses: [String!]!
  }
  type CertificatePayload { certificate: AppCertificate! check: CertificateCheck! }
  type DeleteCertificatePayload { app: AppRef! certificate: AppCertificate! }
  input CheckCertificateInput { appId: ID! hostname: String! }
  type WireGuardPeer {
    id: ID!
    name: String!
    pubkey: String!
    region: String!
    peerip: String!
    network: String
    gatewayStatus: JSON
  }
  input AddWireGuardPeerInput {
    organizationId: ID!
    name: String!
    pubkey: String!
    region: String
    network: String
    nats: Boolean
    ephemeral: Boolean
    gwname: String
    clientMutationId: String
  }
  type AddWireGuardPeerPayload {
    peerip: String!
    endpointip: String!
    pubkey: String!
    network: String
  }
  input RemoveWireGuardPeerInput { organizationId: ID! name: String! clientMutationId: String }
  type RemoveWireGuardPeerPayload { organization: OrganizationRef! }
  input ValidateWireGuardPeersInput { peerIps: [String!]! clientMutationId: String }
  type ValidateWireGuardPeersPayload { invalidPeerIps: [String!]! }
  type DelegatedWireGuardToken { id: ID! name: String! }
  input DelegatedWireGuardTokenInput {
    organizationId: ID!
    name: String
    token: String
    clientMutationId: String
  }
  type DelegatedWireGuardTokenPayload { token: String! }
  input CreateLimitedAccessTokenInput {
    name: String!
    organizationId: ID!
    profile: String
    profileParams: JSON
    expiry: String
    clientMutationId: String
  }
  type LimitedAccessTokenPayload { limitedAccessToken: LimitedAccessToken! }
  type LimitedAccessToken { id: ID! tokenHeader: String! }
  input DeleteAddOnInput { name: String addOnId: ID provider: String clientMutationId: String }
  type DeleteAddOnPayload { deletedAddOnName: String! }
`

export const appHasNone = { certificates: connection([]) }

export const organizationHasNone = {
  wireGuardPeers: connection([]),
  wireGuardPeer: ({ name }: { name: string }) => {
    throw notFound(`WireGuard peer "${name}" does not exist`)
  },
  delegatedWireGuardTokens: connection([]),
}

interface Certificate {
  readonly appId: string
  readonly hostname: string
}
interface Named {
  readonly organizationId: string
  readonly name?: string | null
}
interface Input<T> {
  readonly input: T
}

/** Each looks first whether the caller may ask at all. */
export function noneYetMutations({ control, actor }: GraphqlContext) {
  const certificateMissing = async ({ appId, hostname }: Certificate) => {
    const { name } = await getApp(control, actor, appId)
    throw notFound(`certificate "${hostname}": app "${name}" has none`)
  }
  const ofOrg = async ({ organizationId }: Named, refusal: () => FairwayError) => {
    await getOrg(control, actor, organizationId)
    throw refusal()
  }
  const gone = (what: string, { name }: Named) => notFound(`${what} "${name ?? ''}" does not exist`)
  return {
    addCertificate: async ({ appId }: Certificate) => {
      await getApp(control, actor, appId)
      throw unsupported('certificates', 'certificates are not there yet')
    },
    checkCertificate: ({ input }: Input<Certificate>) => certificateMissing(input),
    deleteCertificate: certificateMissing,
    addWireGuardPeer: ({ input }: Input<Named>) =>
      ofOrg(input, () => unsupported('wireguard', 'WireGuard peers are not there yet')),
    removeWireGuardPeer: ({ input }: Input<Named>) =>
      ofOrg(input, () => gone('WireGuard peer', input)),
    validateWireGuardPeers: ({ input }: Input<{ readonly peerIps: readonly string[] }>) => ({
      invalidPeerIps: input.peerIps,
    }),
    createDelegatedWireGuardToken: ({ input }: Input<Named>) =>
      ofOrg(input, () => unsupported('wireguard', 'tokens for WireGuard are not there yet')),
    deleteDelegatedWireGuardToken: ({ input }: Input<Named>) =>
      ofOrg(input, () => gone('token for WireGuard', input)),
    createLimitedAccessToken: ({ input }: Input<Named>) =>
      ofOrg(input, () => unsupported('tokens', 'tokens with fewer rights are not there yet')),
    deleteAddOn: ({ input }: Input<{ readonly name?: string | null }>) => {
      throw notFound(`add-on "${input.name ?? ''}" does not exist; there are none`)
    },
  }
}

const unsupported = (what: string, message: string): FairwayError =>
  new FairwayError(`${what}_unsupported`, message, { status: 501 })
