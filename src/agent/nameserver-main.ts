import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { keepCompiled } from '../base/compiled.ts'
import { parseIp } from '../base/ip.ts'
import { createLogger } from '../base/log.ts'
import { ClientRates, limitedHandler } from '../dns/rates.ts'
import { RCODE, respond } from '../dns/records.ts'
import { startDnsServer } from '../dns/server.ts'
import { addressOf, whoamiHandler } from '../dns/whoami.ts'
import { PLATFORM_NAMES } from '../model/platform.ts'
import { listenWhenThere } from './dns-listen.ts'

/**
 * The name server beside the edge, a process of its own on the platform's public addresses: tells
 * whoever asks for `whoami.<apps domain>` its address. Its configuration is a JSON file.
 */
const Config = z.object({
  listen: z
    .array(z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address'))
    .min(1),
  port: z.number().int().min(0).max(65_535).default(53),
  appsDomains: z.array(z.string().min(1)).min(1),
})

const log = createLogger('nameserver')
const { listen, port, appsDomains } = Config.parse(
  JSON.parse(readFileSync(process.argv[2]!, 'utf8')),
)
const whoami = whoamiHandler({
  zones: appsDomains.map((domain) => `${PLATFORM_NAMES.whoami}.${domain}`),
  nameServer: `${PLATFORM_NAMES.nameServer}.${appsDomains[0]}`,
  addressesOf: addressOf,
})
const handler = limitedHandler(
  (query, client) => whoami(query, client) ?? respond(query, { rcode: RCODE.REFUSED }),
  new ClientRates(() => performance.now()),
)
const server = await listenWhenThere(listen, log, () =>
  startDnsServer({ addresses: listen, port, handler, log }),
)
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)))
process.on('disconnect', () => process.exit(0))
process.send?.({ t: 'ready' })
keepCompiled()
log.info({ listen, port: server.port }, 'name server ready')
