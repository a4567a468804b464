import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { ControlClient } from '../agent/control-client.ts'
import { followControl } from '../agent/control-link.ts'
import { systemClock } from '../base/clock.ts'
import { keepCompiled } from '../base/compiled.ts'
import { createLogger } from '../base/log.ts'
import { addressOf, whoamiHandler } from '../dns/whoami.ts'
import { createAuthoritativeServer } from '../dns/zone.ts'
import { PLATFORM_NAMES } from '../model/platform.ts'
import { ZoneIndex } from '../view/zone-view.ts'

/**
 * The world's resolver: every name of the small internet. Apps' names come from the control plane and
 * stay as they were while it is away. usage: resolver-main.ts CONFIG
 */
const Config = z.object({
  controlUrls: z.array(z.string()),
  tls: z.object({ ca: z.string(), cert: z.string(), key: z.string() }),
  listen: z.array(z.string()),
  /** Apps are named below it. */
  appsDomain: z.string(),
  statics: z.record(z.string(), z.object({ a: z.array(z.string()), aaaa: z.array(z.string()) })),
})
const config = Config.parse(JSON.parse(readFileSync(process.argv[2]!, 'utf8')))
const log = createLogger('resolver')
/** More addresses than a client would ever try only make answers long. */
const ANSWERS_MAX = 8

const zone = new ZoneIndex()
const read = (path: string) => readFileSync(path, 'utf8')
const { ca, cert, key } = config.tls
const client = new ControlClient({
  urls: config.controlUrls,
  tls: { ca: read(ca), cert: read(cert), key: read(key) },
})

await createAuthoritativeServer({
  addresses: config.listen,
  port: 53,
  // The root as well: a name that nobody has is answered here, not looked for elsewhere.
  zones: [config.appsDomain, ''],
  source: { lookup },
  statics: config.statics,
  // Its own server for the zone would only see who forwards; we see who asks.
  before: whoamiHandler({
    zones: [`${PLATFORM_NAMES.whoami}.${config.appsDomain}`],
    nameServer: `${PLATFORM_NAMES.nameServer}.${config.appsDomain}`,
    addressesOf: addressOf,
  }),
  log,
})
let ready = false
process.on('SIGTERM', () => process.exit(0))
await followControl(
  { client, clock: systemClock, random: Math.random, log },
  {
    after: 0,
    signal: new AbortController().signal,
    onLine(line) {
      zone.apply(line)
      if (line.t !== 'synced' || ready) return
      ready = true
      process.send?.({ t: 'ready' })
      keepCompiled()
    },
  },
)

function lookup(name: string) {
  const suffix = `.${config.appsDomain}`
  if (!name.endsWith(suffix)) return undefined
  const names = zone.app(name.slice(0, -suffix.length))
  return names && { a: names.a.slice(0, ANSWERS_MAX), aaaa: names.aaaa.slice(0, ANSWERS_MAX) }
}
