import { addressAt, parsePrefix } from '../base/ip.ts'

/**
 * Where the platform's own services answer, on every edge: echo (HTTP) and whoami (DNS). The first
 * shared IPv4, and the first address of the IPv6 pool, which no app is given.
 */
export interface PlatformAddresses {
  readonly v4: string | null
  readonly v6: string | null
}

export function platformAddresses(pools: {
  readonly sharedV4: readonly string[]
  readonly v6: readonly string[]
}): PlatformAddresses {
  return { v4: addressIn(pools.sharedV4[0], 0n), v6: addressIn(pools.v6[0], 1n) }
}

function addressIn(text: string | undefined, index: bigint): string | null {
  const prefix = text === undefined ? undefined : parsePrefix(text)
  if (!prefix) return null
  return addressAt(prefix, prefix.length === (prefix.family === 4 ? 32 : 128) ? 0n : index)
}

/** Names of the platform's services below the apps domain. */
export const PLATFORM_NAMES = {
  echo: 'ip',
  whoami: 'whoami',
  nameServer: 'ns1',
  outbound: 'outbound',
} as const
