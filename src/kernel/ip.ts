import { z } from 'zod'
import { CommandError, type Exec } from './exec.ts'

/** Where `ip netns` keeps names of network namespaces. */
export const NETNS_DIR = '/run/netns'
export const netnsPath = (name: string): string => `${NETNS_DIR}/${name}`

const Link = z.object({
  ifname: z.string(),
  flags: z.array(z.string()).default([]),
  mtu: z.number().optional(),
  /** A number, as text. */
  group: z.string().optional(),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z.record(z.string(), z.unknown()).optional(),
    })
    .optional(),
})
export type Link = z.infer<typeof Link>

const Route = z.object({
  type: z.string().default('unicast'),
  dst: z.string(),
  dev: z.string().optional(),
  gateway: z.string().optional(),
  /** Absent in listings of the main table alone. */
  table: z.string().optional(),
  /** Of a tunnel's route, `dst` and `src` are the tunnel's: `ip` writes them after the route's own. */
  encap: z.string().optional(),
  src: z.string().optional(),
})
export type Route = z.infer<typeof Route>

const Rule = z.object({
  priority: z.number(),
  /** Hexadecimal, or 0; without `fwmask` all bits count. */
  fwmark: z.string().optional(),
  fwmask: z.string().optional(),
  iif: z.string().optional(),
  table: z.string().optional(),
  goto: z.number().optional(),
  protocol: z.string().optional(),
})
export type Rule = z.infer<typeof Rule>

/**
 * Runs lines of `ip` in one process, in order; stops at the first that fails. `family` is needed
 * where no address in a line tells it.
 */
export async function ipBatch(exec: Exec, lines: readonly string[], family?: 4 | 6): Promise<void> {
  if (lines.length === 0) return
  const words = family === undefined ? [] : [`-${family}`]
  await exec.run(['ip', ...words, '-batch', '-'], { stdin: batchText(lines) })
}

/** The text for `ip -batch -`. A line break inside a line would be a second command. */
export function batchText(lines: readonly string[]): string {
  const bad = lines.find((line) => /[\n\r]/.test(line))
  if (bad !== undefined) throw new Error(`a line of an ip batch holds a line break: ${bad}`)
  return lines.map((line) => `${line}\n`).join('')
}

export const listGroup = (exec: Exec, group: number): Promise<Link[]> =>
  observe(exec, ['ip', '-j', 'link', 'show', 'group', String(group)], Link)

/** `undefined` when there is no such device. */
export async function findLink(exec: Exec, device: string): Promise<Link | undefined> {
  try {
    return (await observe(exec, ['ip', '-j', '-d', 'link', 'show', 'dev', device], Link))[0]
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Routes of one family; `selector` as in `ip route show <selector>`. */
export const listRoutes = (
  exec: Exec,
  family: 4 | 6,
  selector: readonly string[] = [],
): Promise<Route[]> =>
  observe(exec, ['ip', '-j', `-${family}`, 'route', 'show', ...selector], Route)

/** Policy routing of one family, in order. */
export const listRules = (exec: Exec, family: 4 | 6): Promise<Rule[]> =>
  observe(exec, ['ip', '-j', `-${family}`, 'rule', 'show'], Rule)

export async function listNetns(exec: Exec): Promise<string[]> {
  const found = await observe(exec, ['ip', '-j', 'netns', 'list'], z.object({ name: z.string() }))
  return found.map((n) => n.name)
}

export const createNetns = (exec: Exec, name: string): Promise<void> =>
  ipBatch(exec, [`netns add ${name}`])

/** Not an error when it is not there. */
export async function deleteNetns(exec: Exec, name: string): Promise<void> {
  try {
    await ipBatch(exec, [`netns del ${name}`])
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

/** Values by name, `net.ipv4.ip_forward`. */
export async function setSysctls(
  exec: Exec,
  settings: Readonly<Record<string, string | number>>,
): Promise<void> {
  const words = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  await exec.run(['sysctl', '-q', '-w', ...words])
}

/** Whether a command failed because what it names is not there. */
export const isMissing = (error: unknown): boolean =>
  error instanceof CommandError &&
  // The last is how `sh` says it of a device's settings.
  /does not exist|Cannot find device|No such (file|device|process)|Directory nonexistent/.test(
    error.stderr,
  )

/** Whether a command failed because what it should create is there already. */
export const isPresent = (error: unknown): boolean =>
  error instanceof CommandError && error.stderr.includes('File exists')

async function observe<T extends z.ZodType>(
  exec: Exec,
  argv: readonly string[],
  shape: T,
): Promise<z.infer<T>[]> {
  const text = (await exec.run(argv)).trim()
  if (text === '') return []
  // Some versions of ip print `{}` for entries that a filter has left out.
  const rows = z.array(z.unknown()).parse(JSON.parse(text))
  return rows.flatMap((row) => {
    const parsed = shape.safeParse(row)
    return parsed.success ? [parsed.data] : []
  })
}
