import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { OwnerResult } from './egress-owner.ts'
import type { SteeredResult } from './egress-steered.ts'

/** What static egress costs, at the host that translates and through another one. As root. */
export interface EgressResult {
  readonly owner: OwnerResult
  readonly steered: SteeredResult
}

const MS_MAX = 900_000

export const measureEgress = (): EgressResult => ({
  owner: inside('egress-owner.ts'),
  steered: inside('egress-steered.ts'),
})

/** Runs a file of this folder in namespaces of its own; what it says last is its result. */
function inside<R>(file: string): R {
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`
  const inner = `mount -t tmpfs none /run && mkdir -p /run/netns && exec ${node} ${join(import.meta.dirname, file)}`
  const { status, stdout } = spawnSync(
    'unshare',
    ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', inner],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: MS_MAX },
  )
  if (status !== 0) throw new Error(`${file} failed: ${stdout}`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

export function printEgress({ owner, steered }: EgressResult): void {
  const { sizes, ...trips } = owner
  console.table({ 'at the owner': trips })
  console.table(sizes.map(({ changeMs, ...rest }) => ({ ...rest, ...named('changeMs', changeMs) })))
  console.table({ steered })
}

const named = (name: string, values: object) =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [`${name} ${key}`, value]))

if (import.meta.main) printEgress(measureEgress())
