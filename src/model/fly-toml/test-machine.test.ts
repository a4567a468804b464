import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseFlyToml } from './parse.ts'
import { machineChecksOf, testMachineConfig } from './test-machine.ts'

const INPUT = { image: 'web@sha256:1', clientVersion: '1', release: { id: 'rel_1', version: 7 } }
const GUEST = { cpu_kind: 'shared', cpus: 2, memory_mb: 512 }
const parsed = (text: string) => {
  const result = parseFlyToml(text)
  assert.ok(result.ok)
  return result.config
}

const APP = parsed(`
app = "web"
primary_region = "lhr"
kill_signal = "SIGTERM"
[env]
COLOUR = "red"
[processes]
web = "a"
worker = "b"
[http_service]
internal_port = 80
processes = ["web"]
[[http_service.checks]]
path = "/"
[[http_service.machine_checks]]
entrypoint = ["/bin/sh", "-c"]
command = ["curl http://[$FLY_TEST_MACHINE_IP]"]
kill_signal = "SIGKILL"
kill_timeout = 5
[[machine_checks]]
command = "node check.js --all"
`)

test('checks of a service are for its groups, those of the app for all', () => {
  assert.equal(machineChecksOf(APP, 'web').length, 2)
  assert.deepEqual(
    machineChecksOf(APP, 'worker').map((check) => check.command),
    [['node', 'check.js', '--all']],
  )
})

test('a machine check has a machine of its own, without services, that knows the one to look at', () => {
  const [check, general] = machineChecksOf(APP, 'web')
  const underTest = { address: 'fdaa:0:1::2', guest: GUEST }
  const config = testMachineConfig(APP, check!, underTest, INPUT)
  assert.deepEqual(config.env, {
    COLOUR: 'red',
    FLY_TEST_COMMAND: '1',
    FLY_TEST_MACHINE_IP: 'fdaa:0:1::2',
    FLY_PROCESS_GROUP: 'fly_app_test_machine_command',
    PRIMARY_REGION: 'lhr',
  })
  assert.deepEqual(config.init, {
    cmd: ['curl http://[$FLY_TEST_MACHINE_IP]'],
    entrypoint: ['/bin/sh', '-c'],
  })
  assert.deepEqual(config.stop_config, { signal: 'SIGKILL', timeout: '5s' })
  assert.deepEqual(config.guest, GUEST)
  assert.deepEqual(config.restart, { policy: 'no' })
  assert.equal(config.auto_destroy, true)
  assert.equal(config.metadata?.fly_process_group, 'fly_app_test_machine_command')
  assert.equal(config.metadata?.fly_release_id, 'rel_1')
  assert.equal(config.services ?? config.checks, undefined)
  const other = testMachineConfig(APP, general!, underTest, INPUT)
  assert.deepEqual(other.stop_config, { signal: 'SIGTERM' })
})
