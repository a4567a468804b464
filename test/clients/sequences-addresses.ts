import type { Sequence } from './replay.ts'
import { any, data, exact, graphqlError, has, is, list, nodes, restError } from './shapes.ts'
import { A, gql, rest } from './wire.ts'
import {
  ALLOC_EGRESS,
  ALLOC_IP,
  ALLOC_SHARED,
  EGRESS_APP,
  EGRESS_MACHINES,
  IPS,
  RELEASE_EGRESS,
  RELEASE_IP,
} from './wire-addresses.ts'
import { ORG, ORGS } from './wire-apps.ts'
import { LIST } from './wire-machines.ts'
import { CONFIG_CURRENT } from './wire-releases.ts'

/** Commands about addresses, and about what leads to a private network or TLS. */

export const ADDRESSES: readonly Sequence[] = [
  { command: 'ips list', steps: [IPS('v6'), EGRESS_APP] },
  { command: 'ips release SHARED', steps: [RELEASE_IP('<shared>')] },
  { command: 'ips allocate-v4 --yes', steps: [ALLOC_IP({}, 'v4', 'v4')] },
  { command: 'ips allocate-v4 -r lhr --yes', steps: [ALLOC_IP({ region: 'lhr' }, 'v4', 'lhr')] },
  { command: 'ips allocate-v6', steps: [ALLOC_IP({}, 'v6', 'v6')] },
  {
    command: 'ips allocate-v6 --private -o personal --network inner',
    steps: [ORG, ALLOC_IP({ organizationId: '<org>', network: 'inner' }, 'private_v6', 'private')],
  },
  { command: 'ips list, of all kinds', steps: [IPS('v4', 'v6', 'private_v6'), EGRESS_APP] },
  {
    command: 'ips release ADDRESS...',
    steps: [
      ...['<v4>', '<lhr>', '<v6>', '<private>'].map(RELEASE_IP),
      { ...RELEASE_IP('<v6>'), answer: graphqlError(/has no address/, 'ADDRESS_NOT_FOUND') },
    ],
  },
  { command: 'ips allocate', steps: [LIST, IPS('v6')] },
  { command: 'ips private', steps: [LIST] },
  {
    command: 'ips allocate-egress -r iad --yes',
    steps: [ALLOC_EGRESS({ region: 'iad' }), EGRESS_APP, LIST, CONFIG_CURRENT],
  },
  {
    command: 'ips release-egress ADDRESS...',
    steps: [RELEASE_EGRESS({ ip: '<egressV4>' }), RELEASE_EGRESS({ ip: '<egressV6>' }), EGRESS_APP],
  },
  {
    command: 'machine egress-ip allocate, list, release',
    steps: [
      ALLOC_EGRESS({ machineId: '<machine>' }),
      EGRESS_MACHINES,
      RELEASE_EGRESS({ machineId: '<machine>' }),
    ],
  },
  {
    command: 'machine egress-ip promote',
    steps: [
      ALLOC_EGRESS({ machineId: '<machine>' }),
      EGRESS_MACHINES,
      // An IPv6 address as it is.
      rest('POST /api/v1/apps/shop/egress_ips/<egressV4>/promote'),
      EGRESS_APP,
      RELEASE_EGRESS({ ip: '<egressV4>' }),
      RELEASE_EGRESS({ ip: '<egressV6>' }),
    ],
  },
]

/** The shared address comes to be known as it does for a person. */
export const SHARED: Sequence = {
  command: 'ips allocate-v4 --shared',
  steps: [ALLOC_SHARED, IPS('v6')],
}

const HOST = `${A}/certificates/www.example.com`

export const NOT_YET: readonly Sequence[] = [
  {
    command: 'certs list',
    steps: [rest(`GET ${A}/certificates?limit=50`, has({ certificates: list(any).length(0) }))],
  },
  {
    command: 'certs add www.example.com',
    steps: [
      rest(`POST ${A}/certificates/acme`, restError(/not there yet/, 'certificates_unsupported'), {
        body: { hostname: 'www.example.com' },
        status: 501,
      }),
    ],
  },
  {
    command: 'certs import www.example.com',
    steps: [
      rest(`POST ${A}/certificates/custom`, restError(/not there yet/), {
        body: { hostname: 'www.example.com', fullchain: 'PEM', private_key: 'PEM' },
        status: 501,
      }),
    ],
  },
  {
    command: 'certs check, certs remove www.example.com',
    steps: [
      rest(`GET ${HOST}`, restError(/has none/), { status: 404 }),
      rest(`POST ${HOST}/check`, restError(/has none/), { status: 404 }),
      rest(`DELETE ${HOST}`, restError(/has none/), { status: 404 }),
    ],
  },
  {
    command: 'wireguard list personal',
    steps: [
      ORG,
      gql(
        'PEERS',
        'query($slug: String!){organization(slug: $slug){wireGuardPeers{nodes{id name pubkey region peerip}}}}',
        { slug: 'personal' },
        // A list that is missing crashes the client.
        data({ organization: exact({ wireGuardPeers: nodes(any) }) }),
      ),
    ],
  },
  {
    command: 'wireguard create personal iad laptop',
    steps: [
      ORG,
      gql(
        'NEAREST_WG',
        'query{nearestRegion(wireguardGateway: true){code name gatewayAvailable deprecated}}',
        null,
        data({ nearestRegion: has({ gatewayAvailable: is(false), deprecated: is(false) }) }),
      ),
      gql(
        'ADD_PEER',
        'mutation($input: AddWireGuardPeerInput!){addWireGuardPeer(input: $input){peerip endpointip pubkey}}',
        {
          input: {
            organizationId: '<org>',
            name: 'laptop',
            pubkey: `${'A'.repeat(43)}=`,
            nats: false,
            region: 'iad',
          },
        },
        graphqlError(/not there yet/, 'WIREGUARD_UNSUPPORTED'),
      ),
    ],
  },
  {
    command: 'wireguard remove personal laptop',
    steps: [
      ORG,
      gql(
        'REMOVE_PEER',
        'mutation($input: RemoveWireGuardPeerInput!){removeWireGuardPeer(input: $input){organization{id}}}',
        { input: { organizationId: '<org>', name: 'laptop' } },
        graphqlError(/"laptop" does not exist/, 'NOT_FOUND'),
      ),
      gql(
        'VALIDATE_PEERS',
        'mutation($input: ValidateWireGuardPeersInput!){validateWireGuardPeers(input: $input){invalidPeerIps}}',
        { input: { peerIps: ['fdaa:0:1:a7b:1:0:a:2'] } },
        data({
          validateWireGuardPeers: exact({
            invalidPeerIps: is(['fdaa:0:1:a7b:1:0:a:2']).array().length(1),
          }),
        }),
      ),
      gql(
        'VALIDATE_PEERS',
        'mutation($input: ValidateWireGuardPeersInput!){validateWireGuardPeers(input: $input){invalidPeerIps}}',
        { input: { peerIps: [] } },
        data({ validateWireGuardPeers: exact({ invalidPeerIps: list(any).length(0) }) }),
      ),
    ],
  },
  {
    command: 'tokens create wireguard -o personal',
    steps: [
      ORGS,
      gql(
        'CreateLimitedAccessToken',
        'mutation CreateLimitedAccessToken ($name: String!, $organizationId: ID!, $profile: String!, $profileParams: JSON, $expiry: String!) { createLimitedAccessToken(input: {name:$name,organizationId:$organizationId,profile:$profile,profileParams:$profileParams,expiry:$expiry}) { limitedAccessToken { tokenHeader } } }',
        {
          name: 'wg',
          organizationId: '<org>',
          profile: 'deploy_organization',
          profileParams: {},
          expiry: '20m',
        },
        graphqlError(/not there yet/, 'TOKENS_UNSUPPORTED'),
        { operationName: 'CreateLimitedAccessToken' },
      ),
    ],
  },
  {
    command: 'certs list of an older client',
    steps: [
      gql(
        'CERTS_OLD',
        'query($appName: String!){appcertscompact: app(name: $appName){certificates{nodes{createdAt hostname clientStatus}}}}',
        { appName: 'shop' },
        data({ appcertscompact: exact({ certificates: nodes(any) }) }),
      ),
      gql(
        'CERT_ADD_OLD',
        'mutation($appId: ID!,$hostname: String!){addCertificate(appId: $appId,hostname: $hostname){certificate{acmeDnsConfigured acmeAlpnConfigured configured certificateAuthority createdAt dnsProvider dnsValidationInstructions dnsValidationHostname dnsValidationTarget hostname id source clientStatus isApex isWildcard issued{nodes{type expiresAt}}validationErrors{errorCode message remediation timestamp}}check{aRecords aaaaRecords cnameRecords soa dnsProvider dnsVerificationRecord resolvedAddresses}}}',
        { appId: 'shop', hostname: 'www.example.com' },
        graphqlError(/not there yet/, 'CERTIFICATES_UNSUPPORTED'),
      ),
      gql(
        'CERT_DEL_OLD',
        'mutation($appId: ID!,$hostname: String!){deleteCertificate(appId: $appId,hostname: $hostname){app{name}certificate{hostname id}}}',
        { appId: 'shop', hostname: 'www.example.com' },
        graphqlError(/has none/, 'NOT_FOUND'),
      ),
    ],
  },
]
