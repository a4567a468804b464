import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { keepCompiled } from '../base/compiled.ts'
import { parseIp, parsePrefix, prefixContains } from '../base/ip.ts'
import { createLogger } from '../base/log.ts'
import { createForwarder } from '../dns/forwarder.ts'
import type { DnsClient, DnsServer } from '../dns/server.ts'
import { whoamiHandler } from '../dns/whoami.ts'
import { PLATFORM_NAMES } from '../model/platform.ts'
import { listenWhenThere } from './dns-listen.ts'
import { askSource } from './egress-socket.ts'

/** The resolver of a host's machines, a process of its own. Its configuration is a JSON file. */
const address = z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address')
const Config = z.object({
  listen: z.array(address).min(1),
  port: z.number().int().min(0).max(65_535).default(53),
  /** An address, or an address and a port. */
  upstreams: z.array(
    z.union([
      address.transform((text) => ({ address: text, port: 53 })),
      z.object({ address, port: z.number().int().min(1).max(65_535) }),
    ]),
  ),
  /** Prefixes of those who may ask. */
  allow: z
    .array(z.string().refine((text) => parsePrefix(text) !== undefined, 'not a prefix'))
    .default(['fdaa::/16']),
  /** `whoami` below each is answered here. */
  appsDomains: z.array(z.string().min(1)).default([]),
  /** Where the agent tells the source of a machine; null: nobody does. */
  egressSocket: z.string().nullable().default(null),
})

const log = createLogger('dns')
const config = Config.parse(JSON.parse(readFileSync(process.argv[2]!, 'utf8')))
const server = await listen()
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))
process.on('disconnect', () => process.exit(0))
process.send?.({ t: 'ready' })
keepCompiled()
log.info({ listen: config.listen, port: server.port }, 'resolver ready')

function listen(): Promise<DnsServer> {
  const prefixes = config.allow.map((text) => parsePrefix(text)!)
  const allow = (text: string) => {
    const ip = parseIp(text)
    return ip !== undefined && prefixes.some((prefix) => prefixContains(prefix, ip))
  }
  const { listen: addresses, port, upstreams } = config
  const own = whoamiHandler({
    zones: config.appsDomains.map((domain) => `${PLATFORM_NAMES.whoami}.${domain}`),
    nameServer: `${PLATFORM_NAMES.nameServer}.${config.appsDomains[0] ?? ''}`,
    addressesOf,
  })
  return listenWhenThere(addresses, log, () =>
    createForwarder({ addresses, port, upstreams, allow, own, log }),
  )
}

/** A machine asks by its private address; the world sees the one that its host translates to. */
async function addressesOf({ address: machine }: DnsClient): Promise<string[]> {
  if (config.egressSocket === null) return []
  const { v4, v6 } = await askSource(config.egressSocket, machine)
  return [v4, v6].filter((found) => found !== null)
}
