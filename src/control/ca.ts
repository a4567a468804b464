import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { FairwayError } from '../base/errors.ts'
import { createPrivateFile } from './private-file.ts'

/**
 * The control plane's own certificate authority: it says which host an agent speaks for, and to the
 * agents that the control plane is the control plane. ECDSA P-256; nothing else trusts it.
 */

const DAY_MS = 24 * 3600 * 1000
const CA_DAYS = 3_650
const LEAF_DAYS = 825
/** Clocks of hosts may run behind. */
const BACKDATE_MS = 3_600_000
const HOST_SUFFIX = '.host.fairway.internal'
const FOLLOWER_SUFFIX = '.follower.fairway.internal'
const HOST_ID = /^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$/
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const CLIENT_AUTH = x509.ExtendedKeyUsage.clientAuth
const SERVER_AUTH = x509.ExtendedKeyUsage.serverAuth

export interface Ca {
  /** PEM. */
  readonly certificate: string
  /** Signing key, PKCS #8 PEM; never leaves the control plane. */
  readonly key: string
}

/** All PEM; `ca` is what the holder should trust. */
export interface Credentials {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/** The authority in `<stateDir>/ca.json` (0600), made on first use. */
export async function loadOrCreateCa(stateDir: string, nowMs = Date.now()): Promise<Ca> {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  const path = join(stateDir, 'ca.json')
  if (!existsSync(path)) createPrivateFile(path, JSON.stringify(await createCa(nowMs)))
  return readCa(path)
}

/** For a host's agent: client authentication, and the name by which the control plane knows it. */
export function issueHostCertificate(
  ca: Ca,
  hostId: string,
  nowMs = Date.now(),
): Promise<Credentials> {
  if (!HOST_ID.test(hostId)) {
    throw new FairwayError('invalid', `host "${hostId}" is not usable as a name in a certificate`)
  }
  return issue(ca, {
    commonName: `${hostId}${HOST_SUFFIX}`,
    names: [{ type: 'dns', value: `${hostId}${HOST_SUFFIX}` }],
    usage: [CLIENT_AUTH],
    nowMs,
  })
}

/** For something that follows the public state and runs no machines, such as a resolver. */
export function issueFollowerCertificate(
  ca: Ca,
  name: string,
  nowMs = Date.now(),
): Promise<Credentials> {
  if (!HOST_ID.test(name)) {
    throw new FairwayError('invalid', `follower "${name}" is not usable as a name in a certificate`)
  }
  return issue(ca, {
    commonName: `${name}${FOLLOWER_SUFFIX}`,
    names: [{ type: 'dns', value: `${name}${FOLLOWER_SUFFIX}` }],
    usage: [CLIENT_AUTH],
    nowMs,
  })
}

/** For the agents' server; `names` are host names and addresses at which agents call it. */
export function issueServerCertificate(
  ca: Ca,
  names: readonly string[],
  nowMs = Date.now(),
): Promise<Credentials> {
  const [first] = names
  if (first === undefined) throw new FairwayError('invalid', 'a server certificate needs a name')
  return issue(ca, {
    commonName: first,
    names: names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
    usage: [SERVER_AUTH],
    nowMs,
  })
}

/**
 * The host that a verified client certificate stands for, from its subjectAltName as Node gives it
 * (`tls.TLSSocket.getPeerCertificate().subjectaltname`); undefined when it is no host's.
 */
export const hostOfCertificate = (subjectAltName: string | undefined): string | undefined =>
  nameInCertificate(subjectAltName, HOST_SUFFIX)

/** The same for a follower. */
export const followerOfCertificate = (subjectAltName: string | undefined): string | undefined =>
  nameInCertificate(subjectAltName, FOLLOWER_SUFFIX)

function nameInCertificate(subjectAltName: string | undefined, suffix: string): string | undefined {
  const names = (subjectAltName ?? '').split(', ')
  const [only] = names
  if (names.length !== 1 || !only?.startsWith('DNS:') || !only.endsWith(suffix)) return undefined
  const id = only.slice('DNS:'.length, -suffix.length)
  return HOST_ID.test(id) ? id : undefined
}

async function createCa(nowMs: number): Promise<Ca> {
  const keyPair = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    // Different names for different authorities, so that errors about a chain say what is wrong.
    name: `CN=Fairway control plane ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys: keyPair,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keyPair.publicKey),
    ],
  })
  return { certificate: certificate.toString('pem'), key: await privatePem(keyPair.privateKey) }
}

interface LeafRequest {
  readonly commonName: string
  readonly names: readonly { readonly type: 'dns' | 'ip'; readonly value: string }[]
  readonly usage: string[]
  readonly nowMs: number
}

async function issue(
  ca: Ca,
  { commonName, names, usage, nowMs }: LeafRequest,
): Promise<Credentials> {
  const issuer = new x509.X509Certificate(ca.certificate)
  const keyPair = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [commonName] }],
    issuer: issuer.subject,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(Math.min(nowMs + LEAF_DAYS * DAY_MS, issuer.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: keyPair.publicKey,
    signingKey: await signingKey(ca.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usage),
      new x509.SubjectAlternativeNameExtension([...names]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    cert: certificate.toString('pem'),
    key: await privatePem(keyPair.privateKey),
    ca: ca.certificate,
  }
}

/** Positive, as RFC 5280 section 4.1.2.2 asks: the first bit is clear, the first byte is not 0. */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes.toString('hex')
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key)
  return x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag)
}

function signingKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem)
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign'])
}

function readCa(path: string): Ca {
  const parsed = JSON.parse(readFileSync(path, 'utf8')) as Partial<Ca>
  if (typeof parsed.certificate === 'string' && typeof parsed.key === 'string') {
    return { certificate: parsed.certificate, key: parsed.key }
  }
  throw new FairwayError('bad_ca', `${path} is not an authority's file; restore it from a copy`)
}
