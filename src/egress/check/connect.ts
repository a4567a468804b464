import { join } from 'node:path'
import { z } from 'zod'
import type { Exec } from '../../kernel/exec.ts'

/** What connect-main.ts is asked, and says. */
export interface ConnectRequest {
  /** A name or an address; not looked at when `addresses` are given. */
  readonly host: string
  readonly port: number
  readonly addresses: readonly (readonly [4 | 6, string])[] | null
  readonly resolvers: readonly string[]
  /** For the name, for each connection, and for the answer of the far end. */
  readonly timeoutMs: number
  /** The far end is the platform's echo service of that name, and is asked whom it sees. */
  readonly echoHost: string | null
}

const Family = z.object({
  family: z.union([z.literal(4), z.literal(6)]),
  remote: z.string().max(64).nullable(),
  localAddress: z.string().max(64).nullable(),
  localPort: z.number().int().min(1).max(65_535).nullable(),
  /** The least of a few. */
  connectMs: z.number().min(0).nullable(),
  seen: z.string().max(64).nullable(),
  error: z.object({ code: z.string().max(64), message: z.string().max(512) }).nullable(),
})
const Outcome = z.object({ families: z.array(Family).max(2) })
export type FamilyOutcome = z.infer<typeof Family>
export type ConnectOutcome = z.infer<typeof Outcome>

const MAIN = join(import.meta.dirname, 'connect-main.ts')
/** Start of the process, and all of its waits. */
const START_MS_MAX = 5_000
const WAITS_MAX = 5

/** In the namespace at `netns`, or in our own. Throws `CommandError` when the process fails. */
export async function connectFrom(
  exec: Exec,
  netns: string | null,
  request: ConnectRequest,
): Promise<ConnectOutcome> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN]
  const argv = netns === null ? node : ['nsenter', `--net=${netns}`, '--', ...node]
  const timeoutMs = START_MS_MAX + WAITS_MAX * request.timeoutMs
  const text = await exec.run(argv, { stdin: JSON.stringify(request), timeoutMs })
  return Outcome.parse(JSON.parse(text))
}
