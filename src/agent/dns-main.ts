import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { parseIp, parsePrefix, prefixContains } from '../base/ip.ts'
import { createLogger } from '../base/log.ts'
import { createForwarder } from '../dns/forwarder.ts'
import type { DnsServer } from '../dns/server.ts'

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
})

/** The agent puts the address on the host; it may come after us. */
const LISTEN_TRIES = 100
const LISTEN_RETRY_MS = 100

const log = createLogger('dns')
const config = Config.parse(JSON.parse(readFileSync(process.argv[2]!, 'utf8')))
const server = await listen()
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))
process.on('disconnect', () => process.exit(0))
process.send?.({ t: 'ready' })
keepCompiled()
log.info({ listen: config.listen, port: server.port }, 'resolver ready')

async function listen(): Promise<DnsServer> {
  const prefixes = config.allow.map((text) => parsePrefix(text)!)
  const allow = (text: string) => {
    const ip = parseIp(text)
    return ip !== undefined && prefixes.some((prefix) => prefixContains(prefix, ip))
  }
  const { listen: addresses, port, upstreams } = config
  for (let tries = 1; ; tries++) {
    try {
      return await createForwarder({ addresses, port, upstreams, allow, log })
    } catch (error) {
      const early = (error as NodeJS.ErrnoException).code === 'EADDRNOTAVAIL'
      if (early && tries < LISTEN_TRIES) await delay(LISTEN_RETRY_MS)
      else throw new Error(`cannot listen on ${addresses.join(', ')}: ${messageOf(error)}`)
    }
  }
}
