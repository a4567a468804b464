import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { pino } from 'pino'
import type { Clock } from '../base/clock.ts'
import { CommandError, type Exec } from '../kernel/exec.ts'
import type { NftSession } from '../kernel/nft.ts'
import type { MachineEgress } from '../model/resources.ts'
import { createEgressTable } from './kernel-egress.ts'

/** What the table tells the kernel, whose elements and flows are kept here. */
function setUp() {
  const elements = new Map<string, string>()
  /** `<private address> <translated address> <translated port>` */
  const flows = new Set<string>()
  const transactions: string[] = []
  /** Transactions wait for `open`; `onListed` happens between a list of flows and its answer. */
  const gate = { open: Promise.resolve(), onListed: async () => {} }
  const take = (text: string) => {
    for (const [, verb, set, list] of text.matchAll(
      /(add|delete) element \S+ \S+ (\S+) \{ (.*?) \}/g,
    ))
      for (const one of list!.split(', ')) {
        const [key, data = ''] = one.split(' : ')
        if (verb === 'add') elements.set(`${set} ${key}`, data)
        else elements.delete(`${set} ${key}`)
      }
  }
  const nft = {
    transact: async (text: string) => {
      await gate.open
      transactions.push(text)
      take(text)
    },
  } as unknown as NftSession
  const exec: Exec = {
    run: async (argv) => {
      const [command, verb] = argv
      assert.equal(command, 'conntrack', argv.join(' '))
      const [source, answerTo] = ['-s', '-q'].map((flag) =>
        argv.includes(flag) ? argv[argv.indexOf(flag) + 1] : undefined,
      )
      const named = [...flows].filter((flow) => {
        const [from, to] = flow.split(' ')
        return (source ?? from) === from && (answerTo ?? to) === to
      })
      if (verb === '-L') {
        await gate.onListed()
        return named.map(line).join('\n')
      }
      assert.equal(verb, '-D')
      if (named.length === 0)
        throw new CommandError(argv, 1, 'conntrack: 0 flow entries have been deleted')
      for (const flow of named) flows.delete(flow)
      return ''
    },
  }
  const clock: Clock = { now: () => 0, sleep: () => new Promise(() => {}) }
  const table = createEgressTable({
    ...{ exec, nft, clock, log: pino({ level: 'silent' }), wanDevice: 'wan' },
    ...{ hostV4: '198.19.1.1', hostV6: '2001:db8:ff::1', publicPrefix6: '2001:db8:a000::/64' },
  })
  const sources = (address: string) =>
    [...elements.keys()]
      .flatMap((key) => {
        const [, from, to] = /^pairs[46] (\S+) \. (\S+)$/.exec(key) ?? []
        return from === address ? [to!] : []
      })
      .sort()
  return { table, elements, flows, transactions, gate, sources }
}

const line = (flow: string): string => {
  const [source, answerTo, port] = flow.split(' ')
  return (
    `tcp 6 431999 ESTABLISHED src=${source} dst=192.0.2.1 sport=3100 dport=443 ` +
    `src=192.0.2.1 dst=${answerTo} sport=443 dport=${port} [ASSURED] mark=0 use=1`
  )
}

const M = { v4: '172.16.0.2', v6: 'fdaa:0:1:a7b:1:0:1:2', publicV6: '2001:db8:a000::2' }
const A: MachineEgress = {
  ...{ pair: 'a', v4: '198.51.100.2', v6: '2001:db8:e001::2', slot: 3, count: 1 },
}
const B: MachineEgress = {
  ...{ pair: 'b', v4: '198.51.100.3', v6: '2001:db8:e001::3', slot: 7, count: 1 },
}
const addresses = (...pairs: MachineEgress[]) => pairs.flatMap(({ v4, v6 }) => [v4!, v6!])

test('what a machine sent from before is taken back once no pair has the address', async () => {
  const { table, flows, sources } = setUp()
  table.hold(addresses(A, B))
  await table.admit({ ...M, egress: null })
  await table.admit({ ...M, egress: A })
  await table.admit({ ...M, egress: B })
  const others = [`${M.v4} 198.19.1.1 41000`, `${M.v4} ${B.v4} 7200`, `172.16.0.4 ${A.v4} 3300`]
  for (const flow of [...others, `${M.v4} ${A.v4} 3100`, `${M.v6} ${A.v6} 3100`]) flows.add(flow)
  await table.letGo()
  assert.deepEqual(sources(M.v4), ['198.19.1.1', A.v4, B.v4], 'held: flows go on')
  assert.equal(flows.size, 5)

  table.hold(addresses(B))
  await table.letGo()
  assert.deepEqual(sources(M.v4), ['198.19.1.1', B.v4])
  assert.deepEqual(sources(M.v6), [M.publicV6, B.v6])
  assert.deepEqual([...flows], others, 'its flows have ended, and no others')
})

test('a machine whose address no pair has any more is closed, whatever its record says', async () => {
  const { table, elements, flows, sources } = setUp()
  table.hold(addresses(A))
  await table.admit({ ...M, egress: A })
  flows.add(`${M.v4} ${A.v4} 3100`)
  table.hold([A.v6!])
  await table.letGo()
  assert.equal(elements.get(`gate4 ${M.v4}`), 'goto closed_family')
  assert.deepEqual([sources(M.v4), sources(M.v6)], [[], [A.v6]])
  assert.equal(flows.size, 0)
  for (const fresh of [false, true]) {
    await table.admit({ ...M, egress: A }, { fresh })
    assert.equal(elements.get(`gate4 ${M.v4}`), 'goto closed_family')
    assert.deepEqual([sources(M.v4), sources(M.v6)], [[], [A.v6]])
  }
  table.hold([])
  await table.letGo()
  await table.admit({ ...M, egress: null })
  assert.deepEqual([sources(M.v4), sources(M.v6)], [['198.19.1.1'], [M.publicV6]])
})

test('before the pairs are known nothing is taken back', async () => {
  const { table, sources } = setUp()
  await table.admit({ ...M, egress: A })
  await table.letGo()
  assert.deepEqual(sources(M.v4), [A.v4])
})

test('a block is not drained while a change that leaves it is on its way to the kernel', async () => {
  const { table, flows, gate } = setUp()
  await table.admit({ ...M, egress: A })
  const held = Promise.withResolvers<void>()
  gate.open = held.promise
  const moving = table.admit({ ...M, egress: B })
  const drained = table.drained([A])
  await setImmediate()
  flows.add(`${M.v4} ${A.v4} 3100`)
  held.resolve()
  await moving
  assert.deepEqual(await drained, [], 'the kernel had it, and a flow began')
  flows.clear()
  assert.deepEqual(await table.drained([A]), [A])
})

test('a block is not drained when its machine begins a flow, and leaves, after flows were listed', async () => {
  const { table, flows, gate } = setUp()
  await table.admit({ ...M, egress: A })
  gate.onListed = async () => {
    flows.add(`${M.v4} ${A.v4} 3100`)
    await table.admit({ ...M, egress: B })
  }
  assert.deepEqual(await table.drained([A]), [])
})

test('a block is not drained when a machine has it again by the time that flows are listed', async () => {
  const { table, gate } = setUp()
  await table.admit({ ...M, egress: B })
  gate.onListed = () => table.admit({ ...M, egress: A })
  assert.deepEqual(await table.drained([A]), [])
})
