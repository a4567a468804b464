import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { keys } from '../../model/keys.ts'
import type { App, Endpoint, Machine } from '../../model/resources.ts'
import type { Txn } from '../../store/store.ts'
import { resumeDeletions } from '../app-deletion.ts'
import { createApp } from '../apps.ts'
import type { MachineControl } from './context.ts'
import { createMachine } from './create.ts'
import { removeApp } from './remove-app.ts'
import { CONFIG, type TestMachines, testMachines } from './testing.ts'

let t: TestMachines
before(async () => {
  t = await testMachines()
})
after(() => t.close())

/** The same control plane: before its app goes `meanwhile` happens, and then its process dies. */
function dyingAfterwards(meanwhile: () => Promise<void>): MachineControl {
  const { store } = t.control
  const deleting = keys.appDeleting('hello')
  return {
    ...t.control,
    store: {
      ...{ watch: () => assert.fail(), leases: store.leases },
      get: (key) => store.get(key),
      range: (prefix, options) => store.range(prefix, options),
      txn: async (txn) => {
        if (await store.get(deleting)) throw new Error('killed')
        if (txn.then?.some((op) => 'put' in op && op.put === deleting)) await meanwhile()
        return store.txn(txn)
      },
    },
  }
}

test('an app made of the same name while the former one goes is not taken for it', async () => {
  const create = () => createApp(t.control, t.actor, { name: 'again', org: 'personal' })
  const former = await create()
  let isOvertaken = false
  const slow = {
    ...t.control,
    store: {
      ...{ watch: () => assert.fail(), leases: t.control.store.leases },
      get: (key: string) => t.control.store.get(key),
      range: t.control.store.range.bind(t.control.store),
      txn: async (txn: Txn) => {
        // Somebody else asked for the same and was faster.
        const deletes = txn.then?.some((op) => 'put' in op && op.put === keys.appDeleting('again'))
        if (deletes && !isOvertaken) {
          isOvertaken = true
          await removeApp(t.control, t.actor, 'again')
          await create()
        }
        return t.control.store.txn(txn)
      },
    },
  }
  await assert.rejects(removeApp(slow, t.actor, 'again'), { code: 'not_found' })
  assert.notEqual((await t.read<App>(keys.app('again')))?.id, former.id)
  assert.equal(await t.read(keys.appDeleting('again')), undefined)
})

test('a machine made while its app goes is destroyed, also when a crash comes between', async () => {
  let made: Machine | undefined
  const dying = dyingAfterwards(async () => {
    const record = await createMachine(t.control, t.actor, { app: 'hello', config: CONFIG })
    made = record.machine
  })
  await assert.rejects(removeApp(dying, t.actor, 'hello'), /killed/)
  const { id, host } = made!
  assert.equal((await t.read<Machine>(keys.machine(host, id)))?.desired, 'started')
  await resumeDeletions(t.control)
  assert.equal((await t.read<Machine>(keys.machine(host, id)))?.desired, 'destroyed')
  assert.equal((await t.read<Endpoint>(keys.endpoint('hello', id)))?.state, 'destroying')
  assert.equal(await t.read(keys.appDeleting('hello')), undefined)
})
