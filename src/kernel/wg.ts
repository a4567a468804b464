import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { FairwayError } from '../base/errors.ts'
import type { Exec } from './exec.ts'

export interface WireguardKeys {
  /** Base64 of 32 bytes, as `wg` writes them. */
  readonly privateKey: string
  readonly publicKey: string
}

export interface WireguardPeer {
  readonly publicKey: string
  /** `address:port`, or null when none is known. */
  readonly endpoint: string | null
  readonly allowedIps: readonly string[]
}

export interface WireguardState {
  readonly privateKey: string | null
  readonly listenPort: number
  readonly peers: readonly WireguardPeer[]
}

const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/
export const isWireguardKey = (text: string): boolean => KEY.test(text)

/** PKCS #8 of an X25519 key is this header and the 32 bytes of the key (RFC 8410). */
const PKCS8_HEADER = Buffer.from('302e020100300506032b656e04220420', 'hex')

export function generateKeys(): WireguardKeys {
  const { privateKey } = generateKeyPairSync('x25519')
  const bytes = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-32)
  // RFC 7748 section 5. The kernel shows the clamped key, which must equal the one that we hold.
  bytes[0]! &= 248
  bytes[31]! = (bytes[31]! & 127) | 64
  return keysOf(bytes.toString('base64'))
}

export function keysOf(privateKey: string): WireguardKeys {
  const der = Buffer.concat([PKCS8_HEADER, Buffer.from(privateKey, 'base64')])
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(secret).export({ type: 'spki', format: 'der' })
  return { privateKey, publicKey: spki.subarray(-32).toString('base64') }
}

/** The keys in a file that only we may read; made when there is none. */
export function loadOrCreateKeys(path: string): WireguardKeys {
  if (existsSync(path)) {
    const text = readFileSync(path, 'utf8').trim()
    if (isWireguardKey(text)) return keysOf(text)
    throw new FairwayError(
      'bad_mesh_key',
      `${path} holds no WireGuard key; remove it and the host will make a new one`,
    )
  }
  const keys = generateKeys()
  const temporary = `${path}.${process.pid}.new`
  writeFileSync(temporary, `${keys.privateKey}\n`, { mode: 0o600, flush: true })
  renameSync(temporary, path)
  return keys
}

/** What `wg show <device> dump` says. */
export async function showWireguard(exec: Exec, device: string): Promise<WireguardState> {
  return parseDump(await exec.run(['wg', 'show', device, 'dump']))
}

export function parseDump(text: string): WireguardState {
  const [first = '', ...rest] = text.split('\n').filter((line) => line !== '')
  const [privateKey, , listenPort] = first.split('\t')
  return {
    privateKey: optional(privateKey),
    listenPort: Number(listenPort ?? 0),
    peers: rest.map((line) => {
      const [publicKey, , endpoint, allowed] = line.split('\t')
      return {
        publicKey: publicKey!,
        endpoint: optional(endpoint),
        allowedIps: optional(allowed)?.split(',') ?? [],
      }
    }),
  }
}

const optional = (field: string | undefined): string | null =>
  field === undefined || field === '(none)' || field === '' ? null : field

/** A configuration file for `wg syncconf`, which keeps the sessions of peers that stay. */
export function renderConfig(
  state: { readonly privateKey: string; readonly listenPort: number },
  peers: readonly WireguardPeer[],
): string {
  const parts = [
    `[Interface]\nPrivateKey = ${state.privateKey}\nListenPort = ${state.listenPort}\n`,
    ...peers.map(
      (p) =>
        `[Peer]\nPublicKey = ${p.publicKey}\nAllowedIPs = ${p.allowedIps.join(', ')}\n` +
        (p.endpoint ? `Endpoint = ${p.endpoint}\n` : ''),
    ),
  ]
  return parts.join('\n')
}

/**
 * Replaces the whole configuration. `path` is a private file to hand it over in: the private key
 * must not be in argv, and `wg` cannot open the socket that Node calls a pipe.
 */
export async function syncConfig(
  exec: Exec,
  device: string,
  path: string,
  config: string,
): Promise<void> {
  writeFileSync(path, config, { mode: 0o600 })
  await exec.run(['wg', 'syncconf', device, path])
}
