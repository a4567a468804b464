import { createLogger } from '../../src/base/log.ts'
import { addressOf, whoamiHandler } from '../../src/dns/whoami.ts'
import { createAuthoritativeServer } from '../../src/dns/zone.ts'
import { EdgeProxy } from '../../src/proxy/edge-proxy.ts'
import { testView } from '../../src/proxy/testing.ts'

/**
 * What the outside has: an edge with its echo service on port 80, and names on port 5353. Says READY.
 *
 * usage: far-end.ts V4 V6
 */
const [v4 = '', v6 = ''] = process.argv.slice(2)
const edge = new EdgeProxy({
  view: testView([], undefined, [v4, v6]),
  ...{ host: 'lhr1', region: 'lhr', appsDomains: ['fairway.test'], backhaulPort: 0 },
  onAppLog: () => {},
})
for (const host of [v4, v6]) await edge.listen({ host, port: 80 })
await createAuthoritativeServer({
  ...{ addresses: [v4, v6], port: 5353, zones: [''], log: createLogger('names') },
  source: { lookup: () => undefined },
  statics: { 'ip.fairway.test': { a: [v4], aaaa: [v6] }, 'four.test': { a: [v4] } },
  before: whoamiHandler({
    ...{ zones: ['whoami.fairway.test'], nameServer: 'ns1.fairway.test', addressesOf: addressOf },
  }),
})
console.log('READY')
