import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ApiMachine } from './api-types.ts'
import { type FakeApi, fakeMachine, runAgainst } from './testing.ts'
import { type FakeState, fakeWorld } from './testing-world.ts'

/** Deploys of one app against a fake world. */

export const HELLO = `
app = "hello"
primary_region = "lhr"
[env]
COLOUR = "red"
[processes]
app = "node server.js"
[http_service]
internal_port = 8080
processes = ["app"]
[[http_service.checks]]
path = "/"
`

interface Options {
  readonly toml?: string
  readonly args?: readonly string[]
  readonly machines?: readonly ApiMachine[]
  readonly signal?: AbortSignal
  readonly api?: (api: FakeApi, state: FakeState) => void
}

export const deploy = ({ toml = HELLO, machines, ...options }: Options) =>
  deployFolder({
    ...options,
    files: { 'fly.toml': toml },
    initial: { machines: [...(machines ?? [fakeMachine('m1'), fakeMachine('m2')])] },
  })

interface FolderOptions extends Pick<Options, 'args'> {
  /** What is in the folder, by path. */
  readonly files: Readonly<Record<string, string>>
  readonly initial?: Partial<FakeState> | undefined
  readonly signal?: AbortSignal | undefined
  readonly api?: Options['api'] | undefined
}

/** `deploy` in a folder, which is gone afterwards. */
export async function deployFolder({
  files,
  initial,
  args = [],
  signal,
  api: prepare,
}: FolderOptions) {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-deploy-'))
  const { api, state } = await fakeWorld(initial)
  prepare?.(api, state)
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(folder, name, '..'), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    const options = { cwd: folder, ...(signal && { signal }) }
    const result = await runAgainst(api, ['deploy', ...args], options)
    return { ...result, api, state }
  } finally {
    await api.close()
    rmSync(folder, { recursive: true })
  }
}

/** Releases of the fake begin with rel-1; machines of before are of another. */
export const former = (id: string, more: Partial<ApiMachine> = {}): ApiMachine => {
  const machine = fakeMachine(id, more)
  const metadata = { ...machine.config.metadata, fly_release_id: 'rel-0' }
  return { ...machine, config: { ...machine.config, metadata } }
}
