import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import {
  type Ca,
  hostOfCertificate,
  issueHostCertificate,
  issueServerCertificate,
  loadOrCreateCa,
} from './ca.ts'

let dir: string
let ca: Ca

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'fairway-ca-'))
  ca = await loadOrCreateCa(dir)
})
after(() => rmSync(dir, { recursive: true }))

interface Outcome {
  /** The host that the server takes the client for, or why it does not trust it. */
  readonly server: string | undefined
  /** Why the client does not trust the server, or null. */
  readonly client: string | null
}

async function handshake(
  client: { cert?: string; key?: string },
  trusted = ca.certificate,
): Promise<Outcome> {
  const { cert, key } = await issueServerCertificate(ca, ['control.fairway.internal', '127.0.0.1'])
  // Not refused at once only so that the reason can be seen from here.
  const server = createServer({
    cert,
    key,
    ca: ca.certificate,
    requestCert: true,
    rejectUnauthorized: false,
  })
  const seen = Promise.withResolvers<string | undefined>()
  server.on('secureConnection', (socket: TLSSocket) => {
    const name = hostOfCertificate(socket.getPeerCertificate().subjectaltname)
    seen.resolve(socket.authorized ? name : String(socket.authorizationError))
    socket.on('error', () => undefined).destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const options = { servername: 'control.fairway.internal', ca: trusted, rejectUnauthorized: false }
  const socket = connect({ port, host: '127.0.0.1', ...client, ...options })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  const refused = socket.authorized ? null : String(socket.authorizationError)
  const outcome = { server: await seen.promise, client: refused }
  socket.destroy()
  server.close()
  return outcome
}

test('the authority is made once and readable by its owner alone', async () => {
  assert.deepEqual(await loadOrCreateCa(dir), ca)
  assert.equal(statSync(join(dir, 'ca.json')).mode & 0o777, 0o600)
  const certificate = new X509Certificate(ca.certificate)
  assert.equal(certificate.ca, true)
  assert.equal(certificate.verify(certificate.publicKey), true)
})

test('a host’s certificate says which host it is, over real TLS', async () => {
  const outcome = await handshake(await issueHostCertificate(ca, 'iad1'))
  assert.deepEqual(outcome, { server: 'iad1', client: null })
})

test('no certificate, one of another authority, and a server’s one are not trusted', async () => {
  assert.match((await handshake({})).server ?? '', /ISSUER_CERT/)
  const other = await loadOrCreateCa(join(dir, 'other'))
  const foreign = await handshake(await issueHostCertificate(other, 'iad1'))
  assert.match(foreign.server ?? '', /ISSUER_CERT|SIGNATURE|SELF_SIGNED/)
  const server = await handshake(await issueServerCertificate(ca, ['iad1.host.fairway.internal']))
  assert.match(server.server ?? '', /PURPOSE/)
})

test('an agent that trusts another authority does not trust this control plane', async () => {
  const other = await loadOrCreateCa(join(dir, 'other'))
  const client = await issueHostCertificate(ca, 'iad1')
  assert.match(
    (await handshake(client, other.certificate)).client ?? '',
    /ISSUER_CERT|SIGNATURE|SELF_SIGNED/,
  )
})

test('names that are no hosts’ give no host', () => {
  assert.equal(hostOfCertificate('DNS:iad1.host.fairway.internal'), 'iad1')
  for (const name of [
    undefined,
    '',
    'DNS:control.fairway.internal',
    'DNS:.host.fairway.internal',
    'DNS:iad1.host.fairway.internal, DNS:lhr1.host.fairway.internal',
    'DNS:a.b.host.fairway.internal',
    'URI:iad1.host.fairway.internal',
  ]) {
    assert.equal(hostOfCertificate(name), undefined, String(name))
  }
  assert.throws(() => issueHostCertificate(ca, 'a, DNS:b'), /not usable/)
})
