import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CommandError, type Exec } from '../kernel/exec.ts'
import { createOverlay } from './overlay.ts'

interface Family {
  /** Text of each rule, by which the kernel tells them apart. */
  readonly rules: Map<string, object>
  /** By table and destination. */
  readonly routes: Map<string, object>
}

/** The kernel's policy routing, and its one device, behind `ip` and `sysctl`. */
class FakeIp implements Exec {
  readonly commands: string[] = []
  readonly families: Record<'4' | '6', Family> = { 4: family(), 6: family() }
  link: Record<string, unknown> | undefined
  failing: string | undefined

  async run(argv: readonly string[], { stdin = '' } = {}): Promise<string> {
    const command = argv.join(' ')
    this.commands.push(command)
    if (argv[0] === 'sysctl') return ''
    if (command === 'ip -j -d link show dev overlay') {
      if (this.link) return JSON.stringify([this.link])
      throw new CommandError(argv, 1, 'Device "overlay" does not exist.')
    }
    const [, of] = /^ip (?:-j )?-([46]) /.exec(command) ?? []
    const kernel = of && this.families[of as '4' | '6']
    if (kernel && command.endsWith('rule show')) return JSON.stringify([...kernel.rules.values()])
    if (kernel && command.endsWith('route show table all proto 147'))
      // As `ip` writes it: the tunnel's destination under a key that was there before.
      return JSON.stringify([...kernel.routes.values()]).replaceAll('"tunnel":', '"dst":')
    if (!command.endsWith('-batch -')) throw new CommandError(argv, 1, `unknown: ${command}`)
    for (const line of stdin.trim().split('\n')) this.#line(argv, line, kernel || undefined)
    return ''
  }

  #line(argv: readonly string[], line: string, kernel: Family | undefined): void {
    const fail = (why: string): never => {
      throw new CommandError(argv, 2, `${why}: ${line}`)
    }
    if (this.failing && line.includes(this.failing)) fail('made to fail')
    const [object, verb, ...words] = line.split(' ')
    const rest = words.join(' ')
    if (object === 'link') return this.#setLink(verb!, rest, fail)
    if (!kernel) return fail('needs a family')
    if (object === 'rule' && verb === 'add') {
      if (kernel.rules.has(rest)) fail('File exists')
      kernel.rules.set(rest, parseRule(rest))
    } else if (object === 'rule' && verb === 'del') {
      const key = rest === 'pref 0 lookup local' ? 'kernel' : rest
      if (!kernel.rules.delete(key)) fail('No such file or directory')
    } else if (object === 'route') {
      const route = parseRoute(rest)
      if (verb === 'replace') kernel.routes.set(route.key, route.shown)
      else if (!kernel.routes.delete(route.key)) fail('No such process')
    } else fail('unknown')
  }

  #setLink(verb: string, rest: string, fail: (why: string) => never): void {
    if (verb === 'del') {
      this.link = undefined
      for (const { routes } of Object.values(this.families))
        for (const [key, shown] of routes) if ('encap' in shown) routes.delete(key)
      return
    }
    if (verb === 'add') {
      if (this.link) fail('File exists')
      const local6 = rest.split(' ').at(-1)
      const info_data = { external: true, gpe: true, port: 4790, local6 }
      this.link = { ifname: 'overlay', flags: [], linkinfo: { info_kind: 'vxlan', info_data } }
      return
    }
    if (!this.link) fail('Cannot find device')
    const [, mtu, group] = /^dev overlay mtu (\d+) group (\d+) up$/.exec(rest) ?? fail('unknown')
    Object.assign(this.link!, { mtu: Number(mtu), group, flags: ['UP'] })
  }

  /** Everything of ours, in an order of its own. */
  get state(): unknown {
    return [
      this.link,
      ...Object.values(this.families).map((f) => [[...f.rules.keys()], [...f.routes.keys()]]),
    ].map((part) =>
      Array.isArray(part) ? part.map((keys) => (keys as string[]).toSorted()) : part,
    )
  }
}

const family = (): Family => ({
  rules: new Map([
    ['kernel', { priority: 0, src: 'all', table: 'local' }],
    ['main', { priority: 32_766, src: 'all', table: 'main' }],
  ]),
  routes: new Map(),
})

function parseRule(text: string): object {
  const pattern =
    /^pref (\d+)(?: iif (\S+))?(?: fwmark (\S+)\/(\S+))? (?:lookup (\S+)|goto (\d+)) protocol 147$/
  const [, priority, iif, fwmark, mask, table, goto] = pattern.exec(text)!
  const fwmask = mask === '0xffffffff' ? undefined : mask
  const protocol = '147'
  return {
    ...{ priority: Number(priority), src: 'all', iif, fwmark, fwmask, table, protocol },
    ...(goto ? { goto: Number(goto) } : {}),
  }
}

function parseRoute(text: string): { key: string; shown: object } {
  const closed = /^blackhole (\S+) table (\d+) proto 147$/.exec(text)
  if (closed) {
    const [, dst, table] = closed
    return { key: `${table} ${dst}`, shown: { type: 'blackhole', dst, table } }
  }
  const open =
    /^default (?:encap ip6 id 1 dst (\S+) src (\S+) csum dev overlay )?table (\d+) proto 147$/
  const [, tunnel, src, table] = open.exec(text)!
  return { key: `${table} default`, shown: { dst: 'default', encap: 'ip6', src, tunnel, table } }
}

const overlay = (kernel: FakeIp, changes: object = {}) =>
  createOverlay({
    ...{ exec: kernel, hostIndex: 1, wanDevice: 'wan' },
    egressPrefixes: ['198.51.100.0/26', '2001:db8:e001::/48', '2001:db8:a000:1::/64'],
    ...changes,
  })

test('a new host: device, rules in their order, one route for each other host', async () => {
  const kernel = new FakeIp()
  await overlay(kernel).apply([1, 2, 255])
  assert.deepEqual(
    [...kernel.families[4].rules.keys()],
    [
      'main',
      'pref 100 lookup local protocol 147',
      'pref 10 fwmark 0/0xff0000 goto 100 protocol 147',
      'pref 11 fwmark 0x200000/0xffff0000 lookup main protocol 147',
      'pref 12 iif wan fwmark 0x100002/0xffffffff lookup 10002 protocol 147',
      'pref 12 iif wan fwmark 0x1000ff/0xffffffff lookup 10255 protocol 147',
      'pref 110 iif lo lookup main protocol 147',
      'pref 111 lookup 10000 protocol 147',
    ],
  )
  assert.deepEqual(
    [...kernel.families[6].routes.values()],
    [
      { type: 'blackhole', dst: '2001:db8:e001::/48', table: '10000' },
      { type: 'blackhole', dst: '2001:db8:a000:1::/64', table: '10000' },
      tunnel('fdaa:0:0:2::1', '10002'),
      tunnel('fdaa:0:0:ff::1', '10255'),
    ],
  )
  assert.equal(kernel.families[4].routes.size, 3)
})

const tunnel = (to: string, table: string) => ({
  ...{ dst: 'default', encap: 'ip6', src: 'fdaa:0:0:1::1', tunnel: to, table },
})

test('what is as it should be is not touched', async () => {
  const kernel = new FakeIp()
  const subject = overlay(kernel)
  await subject.apply([2, 3])
  kernel.commands.length = 0
  await subject.apply([3, 2])
  assert.deepEqual(
    kernel.commands.filter((command) => command.includes('batch') || command.includes('sysctl')),
    [],
  )
})

test('a device of another kind or address is replaced', async () => {
  const kernel = new FakeIp()
  await overlay(kernel, { hostIndex: 9 }).apply([2])
  await overlay(kernel).apply([2])
  const fresh = new FakeIp()
  await overlay(fresh).apply([2])
  assert.deepEqual(kernel.state, fresh.state)
})

test('from any fleet to any other, through a failure at any step', async () => {
  const fleet = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 12 })
  const failing = fc.option(fc.constantFrom('rule add', 'rule del', 'route', 'link', 'lookup 1000'))
  await fc.assert(
    fc.asyncProperty(fleet, fleet, failing, async (before, after, failure) => {
      const kernel = new FakeIp()
      await overlay(kernel, { egressPrefixes: ['198.51.100.64/26'] }).apply(before)
      kernel.failing = failure ?? undefined
      await overlay(kernel)
        .apply(after)
        .catch(() => {})
      kernel.failing = undefined
      await overlay(kernel).apply(after)
      const fresh = new FakeIp()
      await overlay(fresh).apply(after)
      assert.deepEqual(kernel.state, fresh.state)
    }),
    { numRuns: 60 },
  )
})
