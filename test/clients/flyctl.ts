import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type Ran, run } from '../support/world.ts'

/** The real flyctl, pointed at an API that is not Fly's, with everything that it would tell Fly turned off. */

interface Options {
  readonly binary: string
  readonly url: string
  readonly token: string
  /** Short: a unix socket is made in it. */
  readonly home: string
  readonly toml: string
}

const APP = 'flyshop'
/** Its test images take seconds; whatever takes minutes hangs. */
const COMMAND_TIMEOUT_MS = 180_000
/** Nothing listens there: what cannot be turned off fails at once. */
const NOWHERE = 'http://127.0.0.1:9'

function environment({ url, token, home }: Options): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: home,
    FLY_CONFIG_DIR: home,
    FLY_API_BASE_URL: url,
    FLY_UIEX_BASE_URL: url,
    FLY_FLAPS_BASE_URL: url,
    FLY_API_TOKEN: token,
    FLY_SEND_METRICS: '0',
    FLY_METRICS_BASE_URL: NOWHERE,
    FLY_NO_UPDATE_CHECK: '1',
    FLY_NO_INCIDENTS_CHECK: '1',
    FLY_SYNTHETICS_AGENT: '0',
    FLY_TRACE_COLLECTOR_URL: '127.0.0.1',
    HTTPS_PROXY: NOWHERE,
    HTTP_PROXY: NOWHERE,
    NO_PROXY: '127.0.0.1,localhost',
    NO_COLOR: '1',
  }
}

export function flyctl(options: Options) {
  const env = environment(options)
  const fly = (...args: string[]): Promise<Ran> =>
    run([options.binary, ...args], { env, cwd: options.home, timeoutMs: COMMAND_TIMEOUT_MS })
  // biome-ignore lint/suspicious/noExplicitAny: looked into
  const json = async (...args: string[]): Promise<any> =>
    JSON.parse((await fly(...args, '--json')).stdout)
  const only = async () => {
    const [machine] = await json('machine', 'list', '-a', APP)
    return machine as { id: string; state: string; region: string }
  }
  const stateIs = async (id: string, state: string) => {
    const all = (await json('machine', 'list', '-a', APP)) as { id: string; state: string }[]
    assert.equal(all.find((one) => one.id === id)?.state, state)
  }

  async function basics() {
    assert.match((await fly('version')).stdout, /v\d/)
    assert.match((await fly('auth', 'whoami')).stdout, /@/)
    assert.match((await fly('orgs', 'list')).stdout, /personal/)
    assert.match((await fly('orgs', 'show', 'personal')).stdout, /personal/i)
    const { stdout } = await fly('platform', 'regions')
    for (const region of ['iad', 'lhr', 'nrt']) assert.match(stdout, new RegExp(region))
    assert.match((await fly('apps', 'create', APP, '-o', 'personal')).stdout, new RegExp(APP))
    assert.match((await fly('apps', 'list')).stdout, new RegExp(APP))
    assert.match((await fly('config', 'validate', '-c', options.toml)).stdout, /valid/i)
  }

  async function deploys(image: string) {
    const flags = ['--ha=false', '--smoke-checks=false', '--dns-checks=false']
    const deploy = ['deploy', '--image', image, '-c', options.toml, '-a', APP, ...flags]
    await fly(...deploy)
    assert.match((await fly('status', '-a', APP)).stdout, /started/)
    await fly(...deploy)
    assert.match((await fly('releases', '-a', APP)).stdout, /v2/)
    assert.match((await fly('services', 'list', '-a', APP)).stdout, /8080|443/)
    await fly('secrets', 'set', 'KEY=value', '-a', APP, '--dns-checks=false')
    assert.match((await fly('secrets', 'list', '-a', APP)).stdout, /KEY/)
    await fly('scale', 'count', '2', '-a', APP, '--yes')
    assert.equal((await json('machine', 'list', '-a', APP)).length, 2)
    await fly('scale', 'count', '1', '-a', APP, '--yes')
    assert.match((await fly('ips', 'private', '-a', APP)).stdout, /fdaa:/)
  }

  async function addresses() {
    const list = async () =>
      (await json('ips', 'list', '-a', APP)) as { Address: string; Type: string }[]
    const shared = (await list()).find((one) => one.Type === 'shared_v4')!.Address
    await fly('ips', 'release', shared, '-a', APP)
    await fly('ips', 'allocate-v4', '-a', APP, '--yes')
    await fly('ips', 'allocate-v6', '-a', APP)
    await fly('ips', 'allocate-v6', '--private', '-a', APP)
    const types = (await list()).map((one) => one.Type)
    for (const type of ['v4', 'v6', 'private_v6']) assert.ok(types.includes(type), type)
    const v4 = (await list()).find((one) => one.Type === 'v4')!.Address
    await fly('ips', 'release', v4, '-a', APP)
    await fly('ips', 'allocate-egress', '-r', 'iad', '-a', APP, '--yes')
    const egress = (await list()).find((one) => one.Type === 'egress_v4')!.Address
    await fly('ips', 'release-egress', egress, '-a', APP)
  }

  async function machines(image: string) {
    const { id } = await only()
    await fly('machine', 'status', id, '-a', APP)
    await fly('machine', 'stop', id, '-a', APP, '-w', '60s')
    await stateIs(id, 'stopped')
    await fly('machine', 'start', id, '-a', APP)
    await fly('machine', 'restart', id, '-a', APP)
    await fly('machine', 'update', id, '-a', APP, '--metadata', 'note=kept', '--yes')
    await stateIs(id, 'started')
    const command = ['node', 'server.js']
    await fly('machine', 'run', image, '-a', APP, '-r', 'iad', '--name', 'single', ...command)
    const all = (await json('machine', 'list', '-a', APP)) as { id: string; name: string }[]
    const single = all.find((one) => one.name === 'single')!
    await fly('machine', 'destroy', single.id, '-a', APP, '--force')
    assert.match((await fly('certs', 'list', '-a', APP)).stdout, /HOSTNAME|Host/i)
    await fly('apps', 'destroy', APP, '--yes')
    assert.doesNotMatch((await fly('apps', 'list')).stdout, new RegExp(APP))
  }

  return {
    /** Each part builds on the one before. */
    async run(t: TestContext, upload: () => Promise<string>): Promise<void> {
      await t.test('version, auth, orgs, regions, apps, config', basics)
      const image = await upload()
      await t.test('deploy, status, releases, secrets, scale', () => deploys(image))
      await t.test('ips', addresses)
      await t.test('machine, apps destroy', () => machines(image))
    },
  }
}
