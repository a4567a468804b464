import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ROOT, run } from './support/world.ts'

/** The README's commands, in their order, as they stand there. */

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const commands = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) =>
  block!.trim().split('\n'),
)

/** What each command's output must show; the rest must merely succeed. */
const SHOWS: readonly [command: string, output: RegExp][] = [
  ['npm run up -- --detach', /The world is up/],
  ['./fairway deploy', /hello\.fairway\.test/],
  ['./fairway world exec client-lhr', /^Hello from lhr: machine [0-9a-f]{14} of hello$/m],
  ['./fairway world exec client-nrt', /^Hello from (nrt|iad|lhr): machine [0-9a-f]{14} of hello$/m],
  ['curl -s http://hello.localhost', /^Hello from iad/m],
  ['./fairway ips list', /dedicated, \$2\/mo/],
  ['./fairway ips allocate-egress', /198\.51\.100\.\d+[\s\S]*2001:db8:e001:/],
  ['./fairway egress list', /198\.51\.100\.\d+/],
  ['./fairway status', /started/],
  ['./fairway down', /The world is down/],
]

describe('the README', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'fairway-readme-'))
  const env = { ...process.env, FAIRWAY_STATE: stateDir, NO_COLOR: '1' }
  let why: string | undefined
  before(async () => {
    if (!(await isFree(8080)) || !(await isFree(4280)))
      why = 'port 8080 or 4280 of this machine is in use'
  })
  after(async () => {
    await run([join(ROOT, 'bin', 'fairway'), 'down'], { env, check: false })
    rmSync(stateDir, { recursive: true, force: true })
  })

  test('has the commands that this test knows', () => {
    assert.ok(commands.length > 10, `${commands.length} commands`)
    for (const [command] of SHOWS)
      assert.ok(
        commands.some((c) => c.startsWith(command)),
        command,
      )
  })

  test('its commands work as they stand', { timeout: 1_200_000 }, async (t) => {
    if (why) {
      t.skip(why)
      return
    }
    for (const command of commands.filter((c) => c !== 'npm test')) {
      const ran = await run(['sh', '-c', command], { env, timeoutMs: 480_000 })
      for (const [start, output] of SHOWS) {
        if (command.startsWith(start)) assert.match(ran.stdout, output, command)
      }
    }
  })

  test('its links lead somewhere', () => {
    for (const [, target = ''] of readme.matchAll(/\]\(([^)#]+)\)/g)) {
      if (!target.startsWith('http')) assert.ok(existsSync(join(ROOT, target)), target)
    }
  })
})

function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
