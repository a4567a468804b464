import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { FakeApi, TOKEN } from '../src/cli/testing.ts'
import { ROOT } from './support/world.ts'

/** Somebody types in a real shell on a terminal, and presses TAB. */

let api: FakeApi
let home: string
before(async () => {
  home = mkdtempSync(join(tmpdir(), 'fairway-shell-'))
  symlinkSync(join(ROOT, 'fairway'), join(home, 'fairway'))
  writeFileSync(join(home, 'notes.toml'), '')
  api = await new FakeApi().listen()
  const apps = ['hello', 'shop'].map((name) => ({ name, status: 'deployed' }))
  api.on('GET /v1/apps', () => ({ apps }))
  const Regions = ['iad', 'lhr'].map((code) => ({ code, name: code }))
  api.on('GET /v1/platform/regions', () => ({ Regions }))
  api.graphql.app = () => ({
    ipAddresses: { nodes: [{ address: '2001:db8:1::7', type: 'v6', region: 'global' }] },
    sharedIpAddress: null,
  })
})
after(async () => {
  await api.close()
  rmSync(home, { recursive: true, force: true })
})

const SHELLS = {
  bash: { start: 'bash --norc --noprofile -i', source: 'source <(fairway completion bash)' },
  zsh: {
    start: 'zsh -f -i',
    source: 'bindkey -e; autoload -Uz compinit; compinit -D -u; source <(fairway completion zsh)',
  },
  fish: { start: 'fish --no-config -i', source: 'fairway completion fish | source' },
} as const
type Shell = keyof typeof SHELLS

const CTRL_A = '\u0001'
const CTRL_E = '\u0005'
const LINE_TIMEOUT_MS = 60_000

/** What stands on the line after TAB: the shell is made to print it, in brackets. */
async function completed(shell: Shell, typed: string): Promise<string> {
  // `script` gives it a terminal.
  const child = spawn('script', ['-qfec', SHELLS[shell].start, '/dev/null'], {
    cwd: home,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      PATH: `${home}:${process.env.PATH}`,
      HOME: home,
      TERM: 'dumb',
      FAIRWAY_STATE: home,
      FLY_API_BASE_URL: api.url,
      FLY_API_TOKEN: TOKEN,
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/fairway'),
    },
  })
  let seen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
  })
  const until = async (pattern: RegExp): Promise<string> => {
    const deadline = Date.now() + LINE_TIMEOUT_MS
    for (;;) {
      const found = pattern.exec(seen)
      if (found) return found[1] ?? ''
      assert.ok(Date.now() < deadline, `${shell}: ${pattern} is not in ${JSON.stringify(seen)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  try {
    child.stdin.write(`${SHELLS[shell].source}; echo re''ady\r`)
    await until(/^ready/m)
    child.stdin.write(`${typed}\t`)
    // The line editor has completed before it reads on.
    child.stdin.write(`${CTRL_A}echo "<<'${CTRL_E}'>>"\r`)
    return await until(/^<<'(.*)'>>/m)
  } finally {
    child.kill('SIGKILL')
  }
}

const has = (shell: Shell): boolean => spawnSync(shell, ['-c', 'true']).status === 0

for (const shell of Object.keys(SHELLS) as Shell[]) {
  const skip = has(shell) ? false : `${shell} is not installed`
  test(`${shell} completes commands, names, lists, addresses and files`, { skip }, async () => {
    const after = async (typed: string) => (await completed(shell, typed)).trimEnd()
    assert.equal(await after('fairway dep'), 'fairway deploy')
    assert.equal(await after('./fairway ips allocate-eg'), './fairway ips allocate-egress')
    assert.equal(await after('fairway status -a he'), 'fairway status -a hello')
    assert.equal(await after('fairway status --app=sh'), 'fairway status --app=shop')
    const region = await completed(shell, 'fairway scale count --region iad,l')
    assert.equal(region, 'fairway scale count --region iad,lhr')
    const address = 'fairway ips release -a hello 2001:db8:1::7'
    assert.equal(await after('fairway ips release -a hello 2001:d'), address)
    assert.equal(await after('fairway deploy --config no'), 'fairway deploy --config notes.toml')
  })
}
