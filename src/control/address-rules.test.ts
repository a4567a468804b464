import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Endpoint, EndpointService } from '../model/resources.ts'
import { dedicatedReason, sharedVerdict } from './address-rules.ts'

type Handlers = EndpointService['ports'][number]['handlers']

const service = (
  ports: [start: number, handlers: Handlers, end?: number][],
  protocol: 'tcp' | 'udp' = 'tcp',
): EndpointService => ({
  protocol,
  internalPort: 8080,
  ports: ports.map(([start, handlers, end = start]) => ({
    start,
    end,
    handlers,
    forceHttps: false,
    httpOptions: null,
    tlsOptions: null,
    proxyProtoVersion: 'v1',
  })),
  concurrency: { type: 'connections', soft: 20, hard: null },
  autostart: false,
  load: 0,
  healthy: true,
  upSinceMs: null,
  options: null,
})

test('I8: what a shared IPv4 can serve', () => {
  const shared = [
    service([]),
    service([[80, ['http']]]),
    service([[443, ['tls', 'http']]]),
    service([
      [443, ['http', 'tls']],
      [80, ['http']],
    ]),
  ]
  for (const one of shared) assert.equal(dedicatedReason(one), undefined)
})

test('I8: what needs a dedicated one, and why', () => {
  const cases: [EndpointService, RegExp][] = [
    [service([[80, []]], 'udp'), /80 is UDP/],
    [service([[5432, ['pg_tls']]]), /5432 is neither 80 nor 443/],
    [service([[80, []]]), /port 80 has the handlers \[\]/],
    [service([[80, ['http', 'tls']]]), /instead of \[http\]/],
    [service([[443, ['tls']]]), /port 443 has the handlers \[tls\] instead of \[http, tls\]/],
    [service([[80, ['http'], 90]]), /ports 80 to 90/],
    [
      service([
        [80, ['http']],
        [8443, ['tls', 'http']],
      ]),
      /8443/,
    ],
  ]
  for (const [one, reason] of cases) assert.match(dedicatedReason(one) ?? '', reason)
})

test('an app qualifies when it serves something, and everything qualifies', () => {
  const endpoint = (...services: EndpointService[]) => ({ services }) as Endpoint
  const web = service([[80, ['http']]])
  assert.equal(sharedVerdict([endpoint(web), endpoint(web, service([]))]).qualifies, true)
  assert.equal(sharedVerdict([endpoint(web), endpoint(service([[25, []]]))]).qualifies, false)
  assert.equal(sharedVerdict([]).qualifies, false)
  assert.equal(sharedVerdict([endpoint(service([]))]).qualifies, false)
})
