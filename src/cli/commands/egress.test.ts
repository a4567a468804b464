import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeMachine, Reply } from '../testing.ts'
import { json, ok, refused, run } from '../testing-commands.ts'
import { fakeCheck, fakePair, fakeUsage } from '../testing-egress.ts'
import { parseDestination } from './egress-check.ts'

const V4 = '198.51.100.1'
const held = () => ({ egress: fakePair(1, {}, ['m1']) })
const nothingChanged = async (line: string, text: RegExp, state = held()) =>
  assert.deepEqual((await refused(line, text, { state })).changes, [])

test('ips list has egress rows with their price and flyctl keys', async () => {
  const { stdout } = await ok('ips list', { state: held() })
  assert.match(stdout, /v4 {7}198.51.100.1 {2,}egress \(\$3.60\/mo\) {2,}iad {5}10s ago\n/)
  assert.match(stdout, /v6 {7}2001:db8:e001::1 {2,}egress {2,}iad {5}10s ago\n/)
  const rows = await json('ips list', held())
  assert.deepEqual(rows.at(-2), {
    ID: 'pair-1-v4',
    Address: V4,
    Type: 'egress_v4',
    Region: 'iad',
    CreatedAt: '2026-06-01T11:59:50Z',
    ServiceName: '',
    Network: null,
  })
  assert.equal(rows.at(-1).Type, 'egress_v6')
  const own = await ok('ips list', { state: { egress: fakePair(1, { machine_id: 'm1' }, ['m1']) } })
  assert.doesNotMatch(own.stdout, /198.51.100.1/)
  assert.match(own.stdout, /Addresses of single machines besides: 2/)
})

test('ips allocate-egress says purpose and price, and that nobody is there yet', async () => {
  const asked = await refused('ips allocate-egress -r iad', /Give --yes/)
  assert.match(
    asked.stderr,
    /visitors do not need them.* iad \(a pair costs \$3.60\/mo, used or not\)/,
  )
  assert.deepEqual(asked.changes, [])
  const { stdout, stderr, state } = await ok('ips allocate-egress -r iad --yes')
  assert.equal(
    stdout,
    'Allocated egress addresses for hello in iad:\nIPv4: 198.51.100.1\nIPv6: 2001:db8:e001::1\n' +
      'In force for new connections of m1.\n',
  )
  assert.match(stderr, /^Egress addresses: a pair costs \$3.60\/mo, used or not.\n/)
  assert.equal(state.egress.length, 2)
  const elsewhere = await ok('ips allocate-egress -r lhr --yes')
  assert.match(elsewhere.stdout, /do so from their first packet/)
  assert.match(elsewhere.stderr, /in lhr but no machines there/)
  const [row] = await json('ips allocate-egress -r iad --yes')
  assert.deepEqual([row.Address, row.Type, row.Region], [V4, 'egress_v4', 'iad'])
})

test('ips allocate-egress passes count, regions and pin on', async () => {
  const { api } = await ok('ips allocate-egress --regions iad,lhr --count 2 --group web --yes')
  const post = api.requests.find((r) => r.method === 'POST')
  assert.deepEqual(post?.body, {
    region: 'iad',
    count: 2,
    regions: ['iad', 'lhr'],
    pin: { group: 'web' },
  })
  assert.equal(post?.path, '/api/v1/apps/hello/egress_ips')
})

test('ips allocate-egress: mistakes change nothing', async () => {
  await nothingChanged('ips allocate-egress --yes', /a region must be provided when allocating/)
  await nothingChanged('ips allocate-egress -r iad --count none --yes', /--count "none".*1 to 8/)
  await nothingChanged('ips allocate-egress -r lhr --regions iad,lhr --yes', /does not begin with/)
  await nothingChanged('ips allocate-egress --regions iad,,lhr --yes', /"" is no region code/)
  await nothingChanged('ips allocate-egress -r iad --group a --machine b -y', /exclude each other/)
})

test('ips release-egress', async () => {
  const { stdout, stderr, state } = await ok(`ips release-egress ${V4} 2001:db8:e001:0::1`, {
    state: held(),
  })
  assert.equal(
    stdout,
    'Released egress address 198.51.100.1 of hello\n' +
      'Released egress address 2001:db8:e001::1 of hello\n',
  )
  assert.match(
    stderr,
    /Warning: new connections of m1 of hello leave through addresses of their hosts now, which change/,
  )
  assert.deepEqual(state.egress, [])
  const half = await ok(`ips release-egress ${V4}`, { state: held() })
  assert.match(half.stderr, /hello has egress IPv6 in iad but no egress IPv4/)
  await nothingChanged(
    `ips release-egress ${V4} 198.51.100.300`,
    /Invalid IP address: '198.51.100.300'/,
  )
  await nothingChanged('ips release-egress', /missing required argument 'addresses'/)
  await refused('ips release-egress 198.51.100.9', /198.51.100.9 is not an egress address of hello/)
})

test('egress list and show', async () => {
  const state = {
    egress: [
      ...fakePair(2, { region: 'lhr', regions: ['lhr', 'iad'], pin: { group: 'web' } }),
      ...fakePair(1, { state: 'draining' as const }, ['m1', 'm2', 'm3', 'm4']),
      ...fakePair(3, { machine_id: 'm1' }, ['m1']),
    ],
  }
  const { stdout } = await ok('egress list', { state })
  const lines = stdout.split('\n')
  assert.match(lines[0]!, /^VERSION {2}IP {2,}REGION {3}FOR {2,}STATE {5}BLOCKS {2}MACHINES/)
  assert.match(
    lines[1]!,
    /v4 {7}198.51.100.1 {2,}iad {2,}all machines {2,}draining {2}4\/64 {4}m1, m2, m3 \+1/,
  )
  assert.match(lines[3]!, /198.51.100.3 .* machine m1 \(its own\)/)
  assert.match(lines[5]!, /198.51.100.2 {2,}lhr,iad {2}group web {2,}active {4}0\/64/)
  assert.equal((await json('egress list', state)).length, 6)
  assert.match((await ok('egress list')).stdout, /no egress address: .*allocate-egress -a hello/)
  const shown = await ok(`egress show ${V4}`, { state })
  assert.match(shown.stdout, /m2 {2}iad1 {2}1024-2047 {2}in use/)
  assert.match(shown.stdout, /m1 {2}iad1 {2}1-1023/)
  await nothingChanged(
    'egress show 10.0.0.1',
    /10.0.0.1 is not an egress address of hello, which has: 198.51.100.1, 2001/,
  )
  await nothingChanged('egress show nowhere', /Invalid IP address: 'nowhere'/)
  await nothingChanged('egress show', /missing required argument 'address'/)
})

test('egress pin and unpin', async () => {
  const pinned = await ok(`egress pin ${V4} --group web`, { state: held() })
  assert.equal(pinned.stdout, '198.51.100.1 is now for group web.\n')
  assert.deepEqual(
    pinned.state.egress.map((row) => row.pin),
    [{ group: 'web' }, { group: 'web' }],
  )
  assert.deepEqual((await json(`egress pin ${V4} --machine m1`, held())).egress_ips[0].pin, {
    machine: 'm1',
  })
  const loose = await ok(`egress unpin ${V4}`, { state: { egress: pinned.state.egress } })
  assert.deepEqual(
    [loose.stdout, loose.state.egress[1]?.pin],
    [`${V4} is now for all machines.\n`, null],
  )
  await nothingChanged(`egress pin ${V4}`, /Say for whom: --group NAME or --machine ID/)
  await nothingChanged(`egress pin ${V4} --group a --machine b`, /exclude each other/)
  await nothingChanged('egress pin x --group web', /Invalid IP address: 'x'/)
  await nothingChanged('egress unpin x', /Invalid IP address: 'x'/)
  await refused('egress unpin 10.1.1.1', /10.1.1.1 is not an egress address/, { state: held() })
})

test('egress drain waits until no block is left', async () => {
  let asked = 0
  const { stdout, stderr, api } = await ok(`egress drain ${V4}`, {
    state: held(),
    api: (fake) => {
      fake.on('GET /api/v1/apps/hello/egress_ips', () => {
        asked += 1
        return { egress_ips: fakePair(1, { state: 'draining' }, asked < 3 ? ['m1'] : []) }
      })
    },
  })
  assert.match(
    stdout,
    /^198.51.100.1 is drained: no connection uses it. `fairway ips release-egress/,
  )
  // Once, although it looked three times; a slow machine says more beside it.
  assert.equal(stderr.match(/Draining 198.51.100.1: 1 block left \(m1 on iad1\)/g)?.length, 1)
  assert.deepEqual(api.requests[0]?.body, { draining: true })
  const detached = await ok(`egress drain ${V4} --detach`, { state: held() })
  assert.match(detached.stdout, /is draining: 1 block left/)
  const late = await run(`egress drain ${V4} --wait-timeout 3s`, { state: held() })
  assert.equal(late.code, 126)
  assert.match(late.stderr, /still has 1 block with open connections after 3 s \(m1 on iad1\)/)
  const back = await ok(`egress undrain ${V4}`, { state: held() })
  assert.match(back.stdout, /may be used for new connections again/)
  await nothingChanged('egress drain', /missing required argument/)
  await nothingChanged('egress drain nothing', /Invalid IP address/)
  await nothingChanged(`egress drain ${V4} --wait-timeout soon`, /--wait-timeout "soon"/)
})

test('a change that the API refuses is told in its words', async () => {
  const text =
    'Draining pair-1 would leave 3 machines in iad without a block. Allocate another pair.'
  const api = (fake: Parameters<NonNullable<Parameters<typeof run>[1]>['api'] & object>[0]) => {
    const reply = new Reply(412, { error: text, code: 'failed_precondition' })
    fake.on('PATCH /api/v1/apps/hello/egress_ips/.*', () => reply)
  }
  const drained = await run(`egress drain ${V4}`, { state: held(), api })
  assert.equal(drained.code, 1)
  assert.ok(drained.stderr.endsWith(`Error: ${text}\n`), drained.stderr)
})

test('egress move, regions, blocks', async () => {
  const moved = await ok(`egress move ${V4} --to-app second`, { state: held() })
  assert.match(
    moved.stdout,
    /198.51.100.1 moved from hello to app second; established connections go on/,
  )
  assert.deepEqual(moved.api.requests[0]?.body, { app: 'second' })
  const own = await ok(`egress move ${V4} --to-machine m1`, { state: held() })
  assert.equal(own.state.egress[0]?.machine_id, 'm1')
  await nothingChanged(`egress move ${V4}`, /Say where to, once: --to-app NAME or --to-machine ID/)
  await nothingChanged(`egress move ${V4} --to-app a --to-machine b`, /Say where to, once/)
  await nothingChanged('egress move x --to-app a', /Invalid IP address/)
  await refused(`egress move ${V4} --to-app nowhere`, /Could not find App/, { state: held() })

  const shared = await ok(`egress regions ${V4} iad,lhr`, { state: held() })
  assert.equal(shared.stdout, '198.51.100.1 is now used in iad, lhr.\n')
  assert.deepEqual(shared.state.egress[0]?.regions, ['iad', 'lhr'])
  await nothingChanged(`egress regions ${V4}`, /missing required argument 'codes'/)
  await nothingChanged(`egress regions ${V4} iad,iad`, /names a region twice/)
  await nothingChanged(`egress regions ${V4} IAD`, /"IAD" is no region code/)

  const more = await ok('egress blocks m1 4', { state: held() })
  assert.equal(more.stdout, 'Machine m1 has 4 blocks: ports 1-4095\n')
  assert.match(more.stderr, /not in force yet on iad2/)
  await nothingChanged('egress blocks m1 0', /count "0" is not a whole number from 1 to 64/)
  await nothingChanged('egress blocks m1 many', /count "many"/)
  await refused('egress blocks m1 2', /m1 has no static egress address/)
})

test('egress usage', async () => {
  const usage = [fakeUsage('m1'), fakeUsage('m2', { exhausted: 3 })]
  const { stdout, stderr } = await ok('egress usage', { state: { usage } })
  assert.match(stdout, /m1 {7}iad {5}198.51.100.1 .* 1024-2047 {2}12 {11}7\/1024 {7}90/)
  assert.match(stdout, /m1 {7}192.0.2.7:5432 {2}tcp {7}7 {7}90 {10}1024/)
  assert.match(
    stderr,
    /m2 has had no port left to a destination 3 times. `fairway egress blocks m2 2`/,
  )
  const one = await ok('egress usage --machine m1', { state: { usage } })
  assert.doesNotMatch(one.stdout, /m2/)
  assert.deepEqual(await json('egress usage --machine m1', { usage }), [fakeUsage('m1')])
  const full = fakeUsage('m1', {
    destinations: [{ address: '2001:db8::7', port: 443, proto: 'tcp', inUse: 1000, peak: 1000 }],
  })
  const warned = await ok('egress usage', { state: { usage: [full] } })
  assert.match(warned.stderr, /1000 of 1024 possible connections to \[2001:db8::7\]:443/)
  assert.match((await ok('egress usage')).stdout, /No machine of hello has a static address/)
  await nothingChanged('egress usage --machine m9', /Machine m9 of hello has no static address/)
  await nothingChanged('egress usage m1', /too many arguments/)
  await nothingChanged('egress usage --machine', /argument missing/)
})

test('egress check from the machines that run', async () => {
  const { stdout, api } = await ok('egress check db.example.com:5432', {
    state: { checks: [fakeCheck('m1')] },
  })
  assert.match(
    stdout,
    /m1 {7}iad {5}IPv4 {4}198.51.100.1 {2}198.51.100.1 {2}198.51.100.1 {2}ok {6}0.42 ms {2}0.40 ms/,
  )
  assert.deepEqual(api.requests[0]?.body, { host: 'db.example.com', port: 5432 })
  const wrong = await run('egress check 192.0.2.7:80', {
    state: { checks: [fakeCheck('m1', { ok: false, seenByFarEnd: '203.0.113.9' })] },
  })
  assert.equal(wrong.code, 1)
  assert.match(wrong.stdout, /WRONG SOURCE/)
  assert.match(wrong.stderr, /m1, IPv4: came from 203.0.113.9, not from 198.51.100.1/)
  const error = { reason: 'block_full' as const, message: 'every port is in use to 192.0.2.7:80' }
  const full = await run('egress check 192.0.2.7:80 --json', {
    state: { checks: [fakeCheck('m1', { error, ok: null, source: null, connectMs: null })] },
  })
  assert.equal(JSON.parse(full.stdout)[0].results[0].error.reason, 'block_full')
  assert.match(full.stderr, /1 check of 192.0.2.7:80 failed:\nmachine m1, IPv4: every port/)
})

test('egress: what a change did to machines, and hosts that do not answer', async () => {
  const effects = { machines_moved: ['m1', 'm2'], machines_to_default: ['m2'], waiting: ['iad2'] }
  const pinned = await ok(`egress pin ${V4} --group web`, {
    state: held(),
    api: (fake) => fake.on('PATCH .*', () => ({ egress_ips: fakePair(1), ...effects })),
  })
  assert.match(pinned.stdout, /New connections of m1 leave from another source now/)
  assert.match(pinned.stderr, /connections of m2 of hello leave through addresses of their hosts/)
  assert.match(pinned.stderr, /not in force yet on iad2/)
  const silent = await ok('egress usage', {
    api: (fake) => {
      const hosts = [{ host: 'iad2', error: 'the answer took too long' }]
      fake.on('GET .*/egress_usage', () => ({ usage: [], hosts_silent: hosts }))
    },
  })
  assert.match(silent.stderr, /host iad2 does not answer \(the answer took too long\)/)
  for (const error of ['the host gave no answer', { message: 'the host gave no answer' }]) {
    const checks = [{ machine: 'm1', region: 'iad', error }]
    const failed = await run('egress check 192.0.2.7:80', { state: { checks } })
    assert.equal(failed.code, 1)
    assert.match(failed.stderr, /machine m1: the host gave no answer/)
  }
})

test('egress check: one family is enough when the name has no other', async () => {
  const none = { reason: 'no_address' as const, message: 'no AAAA' }
  const check = fakeCheck('m1')
  const six = { ...check.results[0]!, family: 6 as const, error: none, ok: null, remote: null }
  const checks = [{ ...check, results: [...check.results, six] }]
  await ok('egress check db.example.com:80', { state: { checks } })
  const onlySix = await run('egress check db.example.com:80', {
    state: { checks: [{ ...check, results: [six] }] },
  })
  assert.equal(onlySix.code, 1)
})

test('egress check by throw-away machines leaves none behind', async () => {
  const image = `hello@sha256:${'a'.repeat(64)}`
  const line = `egress check 192.0.2.7:80 --region iad,lhr --image ${image}`
  const { stdout, state, api } = await ok(line)
  assert.match(stdout, /n2 .*\nn3 /)
  assert.deepEqual(
    state.machines.map((m) => m.id),
    ['m1'],
  )
  const made = api.requests.find((r) => r.path === '/v1/apps/hello/machines')
  assert.equal((made!.body as { config: { auto_destroy: boolean } }).config.auto_destroy, true)
  const failed = await run(line, {
    api: (fake) => {
      fake.on('POST /api/v1/apps/hello/egress_check', ({ body }) =>
        (body as { machine: string }).machine === 'n2'
          ? new Reply(503, { error: 'host_unreachable' })
          : { checks: [fakeCheck('n3')], machines_skipped: 0 },
      )
    },
  })
  assert.equal(failed.code, 1)
  assert.deepEqual(
    failed.state.machines.map((m) => m.id),
    ['m1'],
  )
})

test('egress check: mistakes', async () => {
  await nothingChanged('egress check db.example.com', /is not HOST:PORT/)
  await nothingChanged('egress check 192.0.2.7:80 --region iad --machine m1', /exclude each other/)
  await nothingChanged('egress check 192.0.2.7:80 --image ./app', /--image is for throw-away/)
  await refused('egress check 192.0.2.7:80', /hello has no machine that runs/)
  assert.deepEqual(parseDestination('[2001:db8::7]:443'), { host: '2001:db8::7', port: 443 })
  for (const bad of ['a:0', 'a:65536', '2001:db8::7:443', ':80', 'a b:80', '[x]:80', 'a:80:80']) {
    assert.throws(() => parseDestination(bad), /is not HOST:PORT/, bad)
  }
})

test('machine egress-ip: allocate, list, release, promote', async () => {
  const asked = await refused(
    'machine egress-ip allocate m1',
    /Allocate a pair for machine m1 \(\$3.60/,
  )
  assert.match(asked.stderr, /deprecated: they end with the machine/)
  assert.deepEqual(asked.changes, [])
  const made = await ok('machine egress-ip allocate m1 --yes')
  assert.equal(
    made.stdout,
    'Allocated egress IPs for machine m1:\nIPv4: 198.51.100.1\nIPv6: 2001:db8:e001::1\n',
  )
  assert.match(made.stderr, /deprecated/)
  const own = { egress: fakePair(1, { machine_id: 'm1' }, ['m1']) }
  const list = await ok('machine egress-ip list', { state: own })
  assert.match(
    list.stdout,
    /MACHINE ID {2}REGION {2}TYPE {2}EGRESS IP\nm1 {10}iad {5}v4 {4}198.51.100.1\n/,
  )
  assert.equal((await json('m egress-ip list', own))[1].Version, 6)
  const released = await ok('machine egress-ip release m1 --yes', {
    state: { egress: own.egress.slice(0, 1) },
  })
  assert.match(released.stdout, /machine m1:\nIPv4: 198.51.100.1\nIPv6: <nil>\n$/)
  const promoted = await ok('machine egress-ip promote m1 --yes', { state: own })
  assert.match(promoted.stdout, /m1 {10}iad {5}v6 [\s\S]*Promoted 2 egress IPs to app hello\n$/)
  assert.deepEqual(
    promoted.api.log.filter((line) => line.startsWith('POST')),
    [
      'POST /api/v1/apps/hello/egress_ips/198.51.100.1/promote',
      'POST /api/v1/apps/hello/egress_ips/2001:db8:e001::1/promote',
    ],
  )
})

test('machine egress-ip: mistakes change nothing', async () => {
  await nothingChanged(
    'machine egress-ip promote m1 --yes',
    /no machine-scoped egress IPs found for machine m1/,
  )
  await nothingChanged('machine egress-ip release m1', /Give --yes/)
  await nothingChanged('machine egress-ip allocate', /missing required argument 'machine'/)
  await refused('machine egress-ip allocate m9 --yes', /Could not find Machine/)
  await refused('machine egress-ip release m1 --yes', /no egress IPs found/)
})

test('status and machine status show the static source and what is wrong with it', async () => {
  const egress = { v4: V4, v6: null, slot: 2, count: 2, problem: 'its host has no steering table' }
  const state = { machines: [fakeMachine('m1', { egress }), fakeMachine('m2', { egress: null })] }
  const status = await ok('status', { state })
  assert.match(
    status.stdout,
    /Egress\nID {2}IPV4 {10}IPV6 {2}PORTS\nm1 {2}198.51.100.1 {2}- {5}2048-4095/,
  )
  assert.match(status.stdout, /Machine m1 reaches nothing outside: its host has no steering table/)
  const one = await ok('machine status m1', { state })
  assert.match(
    one.stdout,
    /Egress IPv4 {5}198.51.100.1\n {2}Egress IPv6 {5}none\n {2}Egress Ports {4}2048-4095/,
  )
  assert.match(one.stdout, /packets are dropped rather than sent from another address/)
  assert.doesNotMatch((await ok('machine status m2', { state })).stdout, /Egress/)
})

test('advice comes with list, machines and scale, and never fails a command', async () => {
  const lhr = { egress: fakePair(1, { region: 'lhr' }) }
  for (const line of ['ips list', 'scale count 2', 'machine create hello@sha256:IMAGE -- true']) {
    const { stderr } = await ok(line.replace('IMAGE', 'a'.repeat(64)), { state: lhr })
    assert.match(stderr, /Warning: hello has egress addresses in lhr but no machines there/, line)
    assert.match(stderr, /Warning: hello has machines in iad but no egress address there/, line)
  }
  const machines = Array.from({ length: 33 }, (_, i) => fakeMachine(`m${i}`))
  const release = {
    id: 'r',
    version: 1,
    status: 'complete',
    body: { definition: { deploy: { strategy: 'bluegreen' } } },
  }
  const green = { state: { machines, egress: fakePair(1), releases: [release] } }
  assert.match((await ok('ips list', green)).stderr, /A bluegreen deploy has twice the machines/)
  const broken = await ok('scale count 2', {
    state: lhr,
    api: (fake) => fake.on('GET /api/v1/apps/hello/egress_ips', () => new Reply(500, {})),
  })
  assert.equal(broken.stderr.includes('Warning'), false)
})

test('egress metering', async () => {
  const { stdout, api } = await ok('egress metering', { state: held() })
  assert.match(stdout, /^Egress addresses of personal from 2026-06-01T00:00:00.000Z to/)
  assert.match(stdout, /v4 {7}198.51.100.1 {2,}iad {5}hello {2}12 {5}0.060000 USD/)
  assert.match(stdout, /Total: 0.0600 USD\n$/)
  assert.deepEqual(api.requests.at(-1)?.query, {})
  const month = await ok('egress metering --from 2026-05-01 --to 2026-06-01T02:00:00+02:00')
  assert.match(month.stdout, /None was held/)
  assert.deepEqual(month.api.requests.at(-1)?.query, {
    from: '2026-05-01T00:00:00.000Z',
    to: '2026-06-01T00:00:00.000Z',
  })
  assert.equal((await json('egress metering', held())).addresses[0].hours, 12)
  await nothingChanged('egress metering --from yesterday', /--from "yesterday" is no time/)
  await nothingChanged('egress metering --to 2026-13-01', /--to "2026-13-01" is no time/)
  await nothingChanged('egress metering -o nowhere', /Organization "nowhere" was not found/)
})
