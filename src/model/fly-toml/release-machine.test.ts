import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseFlyToml } from './parse.ts'
import { releaseMachineConfig } from './release-machine.ts'

const INPUT = { image: 'web@sha256:1', clientVersion: '1', release: { id: 'rel_1', version: 7 } }
function made(text: string) {
  const parsed = parseFlyToml(text)
  assert.ok(parsed.ok)
  return releaseMachineConfig(parsed.config, INPUT)
}

test('a release command has a machine of its own, without services, that goes when it ends', () => {
  const config = made(`
app = "web"
primary_region = "lhr"
[env]
COLOUR = "red"
[deploy]
release_command = "sh -c 'npm run migrate'"
[http_service]
internal_port = 80
[[http_service.checks]]
path = "/"
[experimental]
entrypoint = ["/entry"]
`)!
  assert.deepEqual(config.env, {
    COLOUR: 'red',
    RELEASE_COMMAND: '1',
    FLY_PROCESS_GROUP: 'fly_app_release_command',
    PRIMARY_REGION: 'lhr',
  })
  assert.deepEqual(config.init, { cmd: ['sh', '-c', 'npm run migrate'], entrypoint: ['/entry'] })
  assert.equal(config.metadata?.fly_process_group, 'fly_app_release_command')
  assert.equal(config.metadata?.fly_release_version, '7')
  assert.deepEqual(config.restart, { policy: 'no' })
  assert.equal(config.auto_destroy, true)
  assert.equal(config.services ?? config.checks, undefined)
})

test('its size is release_command_vm, else that of the largest group', () => {
  const groups = `
[processes]
web = "a"
worker = "b"
[[vm]]
memory = "1gb"
processes = ["worker"]
[deploy]
release_command = "c"
`
  assert.equal(made(groups)!.guest.memory_mb, 1024)
  assert.equal(made(`${groups}release_command_vm = { memory = "2gb" }\n`)!.guest.memory_mb, 2048)
  assert.equal(made('app = "web"'), undefined)
})
