import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type TestGraphql, testGraphql } from './testing.ts'

/** Mutations of secrets, and what is not there yet. */

let t: TestGraphql
let ask: TestGraphql['ask']
let refused: TestGraphql['refused']
before(async () => {
  t = await testGraphql()
  ;({ ask, refused } = t)
})
after(() => t.close())

test('setSecrets and unsetSecrets release nothing; replaceAll unsets all others', async () => {
  const fields = '{app{name secrets{name}} release{id version} clientMutationId}'
  const set = `mutation($input: SetSecretsInput!){setSecrets(input: $input)${fields}}`
  const secrets = ['ONE', 'TWO'].map((key) => ({ key, value: 'hidden-value' }))
  const names = async (query: string, input: object) => {
    const [payload] = Object.values<{ app: { secrets: { name: string }[] }; release: null }>(
      await ask(query, { input: { appId: 'web', ...input } }),
    )
    assert.equal(payload!.release, null)
    return payload!.app.secrets.map((secret) => secret.name)
  }
  assert.deepEqual(await names(set, { secrets }), ['ONE', 'TWO'])
  assert.deepEqual(await names(set, { secrets: [{ key: 'THREE', value: '' }], replaceAll: true }), [
    'THREE',
  ])
  const unset = `mutation($input: UnsetSecretsInput!){unsetSecrets(input: $input)${fields}}`
  assert.deepEqual(await names(unset, { keys: ['THREE', 'NONE'] }), [])
  const bad = { appId: 'web', secrets: [{ key: 'FLY_X', value: 'x' }] }
  assert.match((await refused(set, { input: bad })).message, /FLY_X.*rename it/)
  const foreign = { appId: 'foreign', secrets }
  assert.equal((await refused(set, { input: foreign })).message, 'Could not find App')
})

test('certificates, WireGuard peers and tokens: none, and named errors for who asks for one', async () => {
  const found = await ask(
    '{organization(slug: "personal"){wireGuardPeers{nodes{id}}delegatedWireGuardTokens{nodes{name}}}app(name: "web"){certificates{nodes{hostname}}}}',
  )
  assert.deepEqual(found.organization.wireGuardPeers.nodes, [])
  assert.deepEqual(found.organization.delegatedWireGuardTokens.nodes, [])
  assert.deepEqual(found.app.certificates.nodes, [])
  const peers =
    'mutation($ips: [String!]!){validateWireGuardPeers(input: {peerIps: $ips}){invalidPeerIps}}'
  const gone = (await ask(peers, { ips: ['fdaa::2'] })).validateWireGuardPeers
  assert.deepEqual(gone.invalidPeerIps, ['fdaa::2'])
  const org = 'organizationId: "org-1"'
  const cases: readonly [mutation: string, code: string][] = [
    [`addWireGuardPeer(input: {${org}, name: "a", pubkey: "k"}){peerip}`, 'WIREGUARD_UNSUPPORTED'],
    [`removeWireGuardPeer(input: {${org}, name: "a"}){organization{id}}`, 'NOT_FOUND'],
    [`createDelegatedWireGuardToken(input: {${org}, name: "a"}){token}`, 'WIREGUARD_UNSUPPORTED'],
    [`deleteDelegatedWireGuardToken(input: {${org}, name: "a"}){token}`, 'NOT_FOUND'],
    [
      `createLimitedAccessToken(input: {${org}, name: "a"}){limitedAccessToken{tokenHeader}}`,
      'TOKENS_UNSUPPORTED',
    ],
    ['deleteAddOn(input: {name: "a"}){deletedAddOnName}', 'NOT_FOUND'],
    ['addCertificate(appId: "web", hostname: "a.b"){certificate{id}}', 'CERTIFICATES_UNSUPPORTED'],
    ['addCertificate(appId: "foreign", hostname: "a.b"){certificate{id}}', 'NOT_FOUND'],
    ['checkCertificate(input: {appId: "web", hostname: "a.b"}){check{soa}}', 'NOT_FOUND'],
    ['deleteCertificate(appId: "web", hostname: "a.b"){app{name}}', 'NOT_FOUND'],
    ['addWireGuardPeer(input: {organizationId: "x", name: "a", pubkey: "k"}){peerip}', 'NOT_FOUND'],
  ]
  for (const [mutation, code] of cases)
    assert.equal((await refused(`mutation{${mutation}}`)).extensions.code, code, mutation)
})
