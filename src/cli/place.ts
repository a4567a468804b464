import { spawn } from 'node:child_process'
import { FairwayError } from '../base/errors.ts'
import { execArgv, requireWorld } from '../world/control.ts'
import { readDescription } from '../world/description.ts'
import { planWorld } from '../world/plan.ts'
import { completePath } from '../world/preflight.ts'
import { worldState } from '../world/state.ts'

/** Running something at a place of the small internet. */

const OUTPUT_CHARS_MAX = 1024 * 1024

/** The command line that runs `command` at the place. Throws `no_place`, or that no world runs. */
export function placeArgv(place: string, command: readonly string[]): string[] {
  completePath()
  const state = worldState()
  const running = requireWorld(state)
  const places = planWorld(readDescription(state.descriptionFile)).places.map((p) => p.name)
  if (!places.includes(place)) {
    throw new FairwayError('no_place', `no place ${place}; there are ${places.join(', ')}`)
  }
  return execArgv(running, place, command)
}

/** What the command prints when it is given `input`; throws `place_failed` when it fails or takes too long. */
export async function outputAtPlace(
  place: string,
  command: readonly string[],
  input: string,
  timeoutMs: number,
): Promise<string> {
  const [file, ...args] = placeArgv(place, command)
  const child = spawn(file!, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...{ timeout: timeoutMs, killSignal: 'SIGKILL' },
  })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.length < OUTPUT_CHARS_MAX) output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (errors.length < OUTPUT_CHARS_MAX) errors += text
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.on('error', reject)
  child.on('close', resolve)
  const code = await promise
  if (code === 0) return output
  const why = code === null ? `not done in ${timeoutMs} ms` : errors.trim() || `exit ${code}`
  throw new FairwayError('place_failed', `at ${place}: ${why}`)
}
