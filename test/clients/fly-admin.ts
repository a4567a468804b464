import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

/** Every method that npm's fly-admin has, against an app of its own. */

// Its own types describe what Fly answers, in TypeScript that is not ours to check.
// biome-ignore lint/suspicious/noExplicitAny: a client without types
type Client = any

export const FLY_ADMIN_GROUPS = [
  'App',
  'Machine',
  'Network',
  'Organization',
  'Regions',
  'Secret',
  'Volume',
] as const

const APP = 'adminshop'

/** The client, and how often each of its methods was called. */
export function flyAdmin(url: string, token: string) {
  const load = createRequire(import.meta.url)
  const { default: Client } = load('fly-admin/dist/client') as {
    default: new (...a: unknown[]) => Client
  }
  const client: Client = new Client(token, { graphqlUrl: url, apiUrl: url })
  const called = new Set<string>()
  const methods: string[] = []
  for (const group of FLY_ADMIN_GROUPS) {
    const prototype = Object.getPrototypeOf(client[group])
    for (const name of Object.getOwnPropertyNames(prototype)) {
      if (name === 'constructor') continue
      methods.push(`${group}.${name}`)
      client[group][name] = (...input: unknown[]) => {
        called.add(`${group}.${name}`)
        return prototype[name].apply(client[group], input)
      }
    }
  }
  return { client, called, methods }
}

export async function appsAndAddresses(client: Client): Promise<void> {
  const { organization } = await client.Organization.getOrganization('personal')
  assert.deepEqual([organization.slug, organization.viewerRole], ['personal', 'admin'])
  const { platform } = await client.Regions.getRegions()
  assert.ok(platform.regions.some((region: { code: string }) => region.code === 'iad'))

  await client.App.createApp({ org_slug: 'personal', app_name: APP })
  await assert.rejects(client.App.createApp({ org_slug: 'personal', app_name: APP }), /^Error: 422/)
  const { apps, total_apps } = await client.App.listApps('personal')
  assert.equal(total_apps, apps.length)
  const listed = apps.find((app: { name: string }) => app.name === APP)
  assert.deepEqual([listed.machine_count, typeof listed.network], [0, 'string'])
  assert.equal((await client.App.getApp(APP)).organization.slug, 'personal')

  const { allocateIpAddress } = await client.Network.allocateIpAddress({ appId: APP, type: 'v6' })
  const { address } = allocateIpAddress.ipAddress
  const detailed = await client.App.getAppDetailed(APP)
  assert.deepEqual(detailed.ipAddresses, [{ type: 'v6', region: 'global', address }])
  const released = await client.Network.releaseIpAddress({ appId: APP, ip: address })
  assert.deepEqual(released, { releaseIpAddress: { app: { name: APP } } })
  await assert.rejects(client.App.getAppDetailed('nobody'), /Could not find App/)

  const secrets = [
    { key: 'ONE', value: '1' },
    { key: 'TWO', value: '2' },
  ]
  const set = await client.Secret.setSecrets({ appId: APP, secrets })
  assert.deepEqual(set, { setSecrets: { release: null } })
  const only = { appId: APP, secrets: [{ key: 'THREE', value: '3' }], replaceAll: true }
  await client.Secret.setSecrets(only)
  await client.Secret.unsetSecrets({ appId: APP, keys: ['NONE'] })
}

export async function secretNames(url: string, token: string): Promise<string[]> {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(`${url}/v1/apps/${APP}/secrets`, { headers })
  const { secrets } = (await answer.json()) as { secrets: { name: string }[] }
  return secrets.map((secret) => secret.name)
}

export const ADMIN_APP = APP

export async function machines(client: Client, image: string): Promise<void> {
  const config = { image, init: { cmd: ['node', 'server.js'] } }
  const made = await client.Machine.createMachine({ app_name: APP, region: 'iad', config })
  const one = { app_name: APP, machine_id: made.id }
  const reach = (state: string, more = {}) =>
    client.Machine.waitMachine({ ...one, state, timeout: '60s', ...more })
  assert.equal((await reach('started', { instance_id: made.instance_id })).ok, true)
  assert.equal((await client.Machine.getMachine(one)).state, 'started')
  assert.equal((await client.Machine.listMachines(APP)).length, 1)
  const elsewhere = await client.Machine.listMachines({ app_name: APP, region: 'nrt' })
  assert.deepEqual(elsewhere, [])

  const processes = await client.Machine.listProcesses({ ...one, sort_by: 'cpu', order: 'desc' })
  assert.ok(processes.some((process: { command: string }) => /server\.js/.test(process.command)))
  await assert.rejects(client.Machine.getLease(one), /404.*lease not found/)
  const lease = await client.Machine.acquireLease({ ...one, ttl: 2, description: 'a moment' })
  assert.deepEqual([lease.status, lease.data.description], ['success', 'a moment'])
  assert.equal((await client.Machine.getLease(one)).data.nonce, lease.data.nonce)
  await until(() => client.Machine.cordonMachine(one))
  assert.equal((await client.Machine.getMachine(one)).cordoned, true)
  await client.Machine.uncordonMachine(one)

  await client.Machine.restartMachine({ ...one, timeout: '5s' })
  await reach('started')
  await client.Machine.signalMachine({ ...one, signal: 'SIGWINCH' })
  const changed = { ...config, env: { CHANGED: 'yes' } }
  const updated = await client.Machine.updateMachine({ ...one, config: changed })
  await reach('started', { instance_id: updated.instance_id })
  const [version] = await client.Machine.listVersions(one)
  assert.equal(version.user_config.env.CHANGED, 'yes')
  await client.Machine.stopMachine({ ...one, timeout: '5s' })
  await reach('stopped')
  assert.equal((await client.Machine.startMachine(one)).previous_state, 'stopped')
  await reach('started')
  const events = await client.Machine.listEvents(one)
  assert.ok(events.some((event: { type: string }) => event.type === 'exit'))
  await assert.rejects(client.Machine.deleteMachine(one), /412/)
  await client.Machine.deleteMachine({ ...one, force: true })
  await reach('destroyed')
}

export async function volumesAndTheEnd(client: Client): Promise<void> {
  const one = { app_name: APP, volume_id: 'vol_none' }
  assert.deepEqual(await client.Volume.listVolumes(APP), [])
  const wanted = { app_name: APP, name: 'data', region: 'iad', size_gb: 1 }
  await assert.rejects(client.Volume.createVolume(wanted), /501.*volumes_unsupported/)
  for (const method of ['getVolume', 'deleteVolume', 'listSnapshots'])
    await assert.rejects(client.Volume[method](one), /404.*vol_none/)
  await assert.rejects(client.Volume.extendVolume({ ...one, size_gb: 2 }), /404.*vol_none/)
  await client.App.deleteApp(APP)
  await assert.rejects(client.App.getApp(APP), /404/)
}

/** Its client cannot send a nonce: whatever is leased has to wait. */
async function until(work: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const error = await work().then(
      () => undefined,
      (failure: Error) => failure,
    )
    if (!error) return
    if (!/lease currently held/.test(error.message)) throw error
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('the lease did not end')
}
