import { createLogger } from '../../src/base/log.ts'
import { createAuthoritativeServer } from '../../src/dns/zone.ts'

/** The resolver of the small world; `long.test` has more addresses than fit a datagram. */
await createAuthoritativeServer({
  addresses: process.argv.slice(2),
  port: 53,
  zones: [''],
  source: { lookup: () => undefined },
  statics: {
    'hello.test': { a: ['203.0.113.5'], aaaa: ['2001:db8:1::5'] },
    'long.test': { a: Array.from({ length: 200 }, (_, i) => `192.0.2.${i}`) },
  },
  log: createLogger('resolver'),
})
console.log('ready')
