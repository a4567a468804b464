import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { FakeApi, runAgainst } from '../testing.ts'
import { CANDIDATES_MAX } from './complete.ts'

/** What is offered at a place of a command line; test/completion.test.ts has the shells do it. */

let api: FakeApi
const machine = (id: string, name: string) => ({ id, name, state: 'started', region: 'iad' })

before(async () => {
  api = await new FakeApi().listen()
  const apps = ['hello', 'help', 'shop'].map((name) => ({ name, status: 'deployed' }))
  api.on('GET /v1/apps', () => ({ apps }))
  api.on('GET /v1/apps/hello/machines', () => [
    machine('3d8d9', 'first\u001b[31m\n'),
    machine('3d8e0', 'second'),
  ])
  api.on('GET /v1/platform/regions', () => ({
    Regions: ['iad', 'lhr', 'nrt'].map((code) => ({ code, name: code.toUpperCase() })),
  }))
  api.on('GET /v1/apps/hello/secrets', () => ({
    secrets: [{ name: 'KEY' }, { name: 'KIND; rm -rf' }, { name: '$(KILL)' }],
  }))
})
after(() => api.close())

async function offered(...words: string[]): Promise<string[]> {
  const { code, stdout } = await runAgainst(api, ['__complete', '--', ...words])
  assert.equal(code, 0)
  return stdout.trimEnd().split('\n')
}
/** Without descriptions. */
const values = async (...words: string[]) => (await offered(...words)).map((l) => l.split('\t')[0])

test('commands, their aliases, and flags with what they do', async () => {
  assert.deepEqual(await offered('dep'), [
    'words',
    'deploy\tDeploy the folder of a fly.toml as it is',
  ])
  assert.deepEqual(await values('ips', 'allocate-v'), ['words', 'allocate-v4', 'allocate-v6'])
  assert.deepEqual(await values('m', 'egress-ip', 'pro'), ['words', 'promote'])
  assert.deepEqual(await values('ips', 'allocate-v6', '--pri'), ['words', '--private'])
  assert.ok(!(await values('')).includes('__complete'))
  assert.deepEqual(await values('nothing', 'at'), ['words'])
})

test('names come from the API, of the app that the line names', async () => {
  assert.deepEqual(await offered('status', '-a', 'hel'), [
    'words',
    'hello\tdeployed',
    'help\tdeployed',
  ])
  assert.deepEqual(await values('status', '--app=sh'), ['words', '--app=shop'])
  assert.deepEqual(await values('apps', 'destroy', 'shop', 'hello'), ['words', 'hello'])
  assert.deepEqual(await offered('machine', 'stop', '-a', 'hello', '3d8d9', '3d8'), [
    'words',
    '3d8d9\tfirst [31m  started iad',
    '3d8e0\tsecond started iad',
  ])
  // It names no app: there is nothing to offer, and no error in the middle of the line.
  assert.deepEqual(await values('machine', 'stop', ''), ['words'])
})

test('lists go on after a comma; choices are offered; files are left to the shell', async () => {
  assert.deepEqual(await values('scale', 'count', '--region', 'iad,l'), ['list', 'iad,lhr'])
  assert.deepEqual(await values('scale', 'count', '--region=n'), ['list', '--region=nrt'])
  assert.deepEqual(await values('deploy', '--strategy', 'r'), ['words', 'rolling'])
  assert.deepEqual(await values('completion', ''), ['words', 'bash', 'zsh', 'fish'])
  assert.deepEqual(await values('deploy', '--config', './'), ['files'])
  assert.deepEqual(await values('deploy', ''), ['files'])
  assert.deepEqual(await values('machine', 'exec', '3d8d9', '--', 'cat', '/et'), ['files'])
  assert.deepEqual(await values('apps', 'create', 'x'), ['words'])
})

test('what a shell would take for a command is not offered', async () => {
  assert.deepEqual(await values('secrets', 'unset', '-a', 'hello', ''), ['words', 'KEY'])
})

test('no more than people can read, and nothing when the API is away', async () => {
  const many = await new FakeApi().listen()
  many.on('GET /v1/apps', () => ({
    apps: Array.from({ length: CANDIDATES_MAX + 9 }, (_, i) => ({ name: `a${i}`, status: '' })),
  }))
  const { stdout } = await runAgainst(many, ['__complete', '--', 'status', '-a', 'a'])
  assert.equal(stdout.trimEnd().split('\n').length, CANDIDATES_MAX + 1)
  await many.close()
  const away = await runAgainst(many, ['__complete', '--', 'status', '-a', 'a'])
  assert.deepEqual([away.code, away.stdout, away.stderr], [0, 'words\n', ''])
})
