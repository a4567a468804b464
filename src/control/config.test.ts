import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadControlConfig, parseControlConfig } from './config.ts'
import { testConfig } from './testing.ts'

const refused = (changes: object, message: RegExp) =>
  assert.throws(() => parseControlConfig({ ...testConfig(), ...changes }, 'control.json'), {
    code: 'bad_config',
    message,
  })

test('defaults are filled in', () => {
  const { quarantineMs, attachWaitMs, prices } = testConfig()
  assert.deepEqual([quarantineMs, attachWaitMs], [60_000, 2_000])
  assert.deepEqual([prices.currency, prices.v4PerMonth], ['USD', '2.00'])
})

test('errors name the file, the field and the value', () => {
  const pools = testConfig().pools
  refused(
    { pools: { ...pools, v4: ['203.0.113.0/33'] } },
    /^control\.json: pools\.v4\.0: "203\.0\.113\.0\/33"/,
  )
  refused({ pools: { ...pools, v4: ['10.0.0.0/8'] } }, /\/16 or longer/)
  refused({ pools: { ...pools, v6: ['203.0.113.0/24'] } }, /not an IPv6 prefix/)
  refused({ prices: { v4PerMonth: 2 } }, /prices\.v4PerMonth/)
  refused({ hosts: [host('mars')] }, /hosts\.0\.region: host "iad1" names region "mars"/)
  refused({ stateDir: undefined }, /stateDir/)
})

test('the file is read; one that is no JSON is named', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-config-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'control.json')
  writeFileSync(path, JSON.stringify({ ...testConfig(), hosts: [host('iad')] }))
  assert.equal(loadControlConfig(path).hosts[0]?.id, 'iad1')
  writeFileSync(path, '{')
  assert.throws(() => loadControlConfig(path), { code: 'bad_config', message: /control\.json: / })
  assert.throws(() => loadControlConfig(join(dir, 'none')), { code: 'bad_config' })
})

const host = (region: string) => ({
  id: 'iad1',
  region,
  index: 1,
  underlayV4: '198.51.100.1',
  underlayV6: '2001:db8::1',
})

test('egress pools name a region or global, have prefixes by family and share nothing', () => {
  const pool = { v4: ['198.51.100.0/26'], v6: ['2001:db8:e001::/48'] }
  const pool6 = { v4: [], v6: ['2001:db8:e000::/48'] }
  const { egressPools: _, ...without } = testConfig()
  assert.deepEqual(parseControlConfig(without, 'control.json').egressPools, {})
  const both = parseControlConfig({ ...without, egressPools: { iad: pool, global: pool6 } }, 'c')
  assert.deepEqual(both.egressPools, { iad: pool, global: pool6 })
  refused({ egressPools: { mars: pool } }, /egressPools\.mars: "mars" is neither/)
  refused({ egressPools: { iad: { ...pool, v4: pool.v6 } } }, /is not an IPv4 prefix/)
  refused(
    { egressPools: { iad: pool, lhr: pool } },
    /egressPools\.lhr: 198\.51\.100\.0\/26 overlaps/,
  )
  const ingress = testConfig().pools.v6
  refused({ egressPools: { iad: { v4: [], v6: ingress } } }, /overlaps .* of pools\.v6/)
})
