import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { AgentCall, ExecLine } from '../model/wire.ts'
import { EXEC_OUTPUT_BYTES_MAX } from './exec.ts'
import { type FakeAgent, type TestProcess, testProcess } from './testing.ts'

let t: TestProcess
let iad1: FakeAgent
let one: string
let stopped: string
before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  await t.api('POST', '/v1/apps?wait=true', { name: 'hello', org_slug: 'personal' })
  const image = `registry.fairway.test/hello@sha256:${await t.upload('hello')}`
  const make = async (skip: boolean) => {
    const body = { config: { image, init: {} }, region: 'iad', skip_launch: skip }
    const { json } = await t.api('POST', '/v1/apps/hello/machines', body)
    return `/v1/apps/hello/machines/${json.id}`
  }
  one = await make(false)
  stopped = await make(true)
  await t.api('GET', `${one}/wait?state=started&timeout=30`)
})
after(() => t.close())

const data = (text: string) => Buffer.from(text).toString('base64')
/** The answer when the agent says these lines; `asked` is what it was asked. */
async function exec(body: object, ...lines: readonly (ExecLine | object)[]) {
  let asked: AgentCall | undefined
  iad1.onCall = (call: AgentCall) => {
    asked = call
    return [...lines]
  }
  return { ...(await t.api('POST', `${one}/exec`, body)), asked }
}

test('a line is split as a shell does, words are taken as they are', async () => {
  const end = { t: 'exit', code: 143, signal: 15 }
  const line = await exec({ cmd: `sh -c 'echo "a b"'` }, { t: 'stdout', data: data('a b\n') }, end)
  assert.deepEqual(line.json, { exit_code: 143, exit_signal: 15, stdout: 'a b\n', stderr: '' })
  const call = line.asked as Extract<AgentCall, { method: 'exec' }>
  assert.deepEqual(call.command, ['sh', '-c', 'echo "a b"'])
  assert.equal(call.timeoutMs, 60_000)
  const words = await exec({ command: ['a b', '$X'], timeout: 5, stdin: 'in' }, end)
  const { command, timeoutMs, stdin } = words.asked as typeof call
  assert.deepEqual([command, timeoutMs, stdin], [['a b', '$X'], 5_000, 'in'])
})

test('what a command did not say itself is a named error', async () => {
  const end = { t: 'exit', code: 137, signal: 9, message: 'said why' }
  for (const [error, status] of [
    ['exec_timeout', 408],
    ['machine_not_started', 412],
    ['machine_stopped', 412],
    ['busy', 429],
    ['exec_failed', 422],
  ] as const) {
    const answer = await exec({ cmd: 'ls' }, { ...end, error })
    assert.deepEqual([answer.status, answer.json], [status, { error: 'said why', status: error }])
  }
  const missing = await exec({ cmd: 'ls' }, { ...end, code: 127, error: 'command_not_found' })
  assert.deepEqual([missing.status, missing.json.exit_code], [200, 127])
  assert.equal(missing.json.stderr, 'said why\n')
  assert.match((await exec({ cmd: 'ls' })).json.error, /ended the answer before the command/)
  const forged = await exec({ cmd: 'ls' }, { t: 'exit', code: 'x' }, { t: 'stdout', data: 1 })
  assert.equal(forged.json.status, 'exec_failed')
})

test('too much output is refused', async () => {
  const chunk = { t: 'stdout', data: data('x'.repeat(64 * 1024)) }
  const count = EXEC_OUTPUT_BYTES_MAX / (64 * 1024) + 1
  const answer = await exec({ cmd: 'yes' }, ...Array.from({ length: count }, () => chunk))
  assert.deepEqual([answer.status, answer.json.status], [413, 'exec_output_limit'])
})

test('a request that cannot be is refused before the host is asked', async () => {
  for (const body of [
    {},
    { cmd: '' },
    { cmd: "echo 'open" },
    { command: ['a\0b'] },
    { command: ['x'.repeat(70_000)] },
    { cmd: 'ls', stdin: 'x'.repeat(300_000) },
    { cmd: 'ls', timeout: 4_000 },
    { cmd: 'ls', timeout: -1 },
  ]) {
    const answer = await exec(body)
    assert.deepEqual([answer.status, answer.asked], [400, undefined], JSON.stringify(body))
  }
  const down = await t.api('POST', `${stopped}/exec`, { cmd: 'ls' })
  assert.equal(down.status, 412)
  assert.match(down.json.error, /is created; commands run in started machines only/)
  const foreign = await t.api('POST', '/v1/apps/hello/machines/0000/exec', { cmd: 'ls' })
  assert.equal(foreign.status, 404)
})
