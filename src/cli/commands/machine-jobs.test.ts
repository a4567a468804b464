import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ExecLine } from '../../model/wire.ts'
import { type FakeApi, runAgainst } from '../testing.ts'
import { withJobs } from '../testing-jobs.ts'
import { type FakeState, fakeWorld } from '../testing-world.ts'

/** `machine exec` and `machine run --rm`: what runs elsewhere ends as if it had run here. */

async function run(
  args: readonly string[],
  prepare: (api: FakeApi, state: FakeState) => void,
  stdin = '',
) {
  const { api, state } = await fakeWorld()
  prepare(api, state)
  try {
    const result = await runAgainst(api, args, { env: { FLY_APP: 'hello' }, stdin })
    return { ...result, api, state }
  } finally {
    await api.close()
  }
}

const data = (text: string) => Buffer.from(text).toString('base64')
const answering =
  (...lines: ExecLine[]) =>
  (api: FakeApi) =>
    api.on('POST /v1/apps/hello/machines/m1/exec', () =>
      lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    )
const exec = (args: readonly string[], ...lines: ExecLine[]) =>
  run(['machine', 'exec', ...args], answering(...lines), 'typed')

test('exec: streams, exit code, and what the command is', async () => {
  const lines: ExecLine[] = [
    { t: 'stdout', data: data('out') },
    { t: 'stderr', data: data('err') },
    { t: 'exit', code: 3, signal: 0 },
  ]
  const words = await exec(['--timeout', '5', '-i', 'm1', 'ls', '-l', '--', 'x'], ...lines)
  assert.deepEqual([words.code, words.stdout, words.stderr], [3, 'out', 'err'])
  const body = words.api.requests.at(-1)?.body
  assert.deepEqual(body, { command: ['ls', '-l', '--', 'x'], timeout: 5, stdin: 'typed' })
  const line = await exec(['m1', "sh -c 'a b'"], ...lines)
  assert.deepEqual(line.api.requests.at(-1)?.body, { cmd: "sh -c 'a b'" })
  const after = await exec(['m1', '--', 'ls', '-l'], ...lines)
  assert.deepEqual(after.api.requests.at(-1)?.body, { command: ['ls', '-l'] })
  const between = await exec(['m1', '--timeout', '5', 'ls', '-a', 'x'], ...lines)
  assert.deepEqual(between.api.requests.at(-1)?.body, { command: ['ls', '-a', 'x'], timeout: 5 })
  // As flyctl takes it: one argument, and flags on either side.
  const flags = await exec(['m1', 'ls -l', '-a', 'hello', '--timeout', '5'], ...lines)
  assert.deepEqual(flags.api.requests.at(-1)?.body, { cmd: 'ls -l', timeout: 5 })
  const json = await exec(['--json', 'm1', 'ls'], ...lines)
  const said = { exit_code: 3, exit_signal: 0, stdout: 'out', stderr: 'err' }
  assert.deepEqual([json.code, JSON.parse(json.stdout)], [3, said])
})

test('exec: what went wrong has a name', async () => {
  const end = { t: 'exit' as const, signal: 0 }
  const missing = { ...end, code: 127, error: 'command_not_found' as const, message: 'no: nope' }
  assert.deepEqual((({ code, stderr }) => [code, stderr])(await exec(['m1', 'nope'], missing)), [
    127,
    'Error: No: nope.\n',
  ])
  const late = { ...end, code: 137, error: 'exec_timeout' as const, message: 'too long' }
  assert.equal((await exec(['m1', 'ls'], late)).code, 126)
  const failed = { ...end, code: 1, error: 'exec_failed' as const, message: 'no room' }
  assert.match((await exec(['m1', 'ls'], failed)).stderr, /Error: No room\./)
  assert.match((await exec(['m1', 'ls'])).stderr, /answer ended before the command/)
  assert.match((await exec(['--timeout', '0', 'm1', 'ls'])).stderr, /--timeout "0" is no number/)
})

const IMAGE = `registry.fairway.test/hello@sha256:${'b'.repeat(64)}`
const RUN_RM = ['machine', 'run', '--rm', IMAGE, '--', 'job']

test('run --rm: the log, then the exit code; nothing stays', async () => {
  const { code, stdout, stderr, state, api } = await run(RUN_RM, (a, s) =>
    withJobs(a, s, { code: 7, lines: ['one', 'two'] }),
  )
  assert.deepEqual([code, stdout], [7, 'one\ntwo\n'], stderr)
  assert.deepEqual(
    state.machines.map((m) => m.id),
    ['m1'],
  )
  const made = api.requests.find((r) => r.method === 'POST' && r.path.endsWith('/machines'))
  const { config } = made!.body as { config: { auto_destroy: boolean; restart: object } }
  assert.deepEqual([config.auto_destroy, config.restart], [true, { policy: 'no' }])
})

test('run --rm --detach: made and left to itself', async () => {
  const { code, stdout, api } = await run([...RUN_RM.toSpliced(3, 0, '--detach')], (a, s) =>
    withJobs(a, s, { code: 7, lines: [] }),
  )
  assert.equal(code, 0)
  assert.match(stdout, /^Machine ID: n2/)
  assert.ok(!api.log.some((line) => line.includes('/logs')))
})
