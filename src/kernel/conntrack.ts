import { CommandError, type Exec } from './exec.ts'

/** Connection tracking of the calling process's namespace, by the `conntrack` command. */

/** A tracked flow as one end began it, and as its answers come. */
export interface Flow {
  readonly protocol: string
  /** Of TCP, as `ESTABLISHED`; empty for others. */
  readonly state: string
  readonly source: string
  readonly destination: string
  /** Of UDP and TCP; 0 for others. */
  readonly destinationPort: number
  /** Where answers go: the address and port (or echo identifier) that translation chose. */
  readonly answerTo: string
  readonly answerPort: number
}

/** Flows that began at `source`, or, with `answerTo`, those whose answers go to it. */
export async function listFlows(
  exec: Exec,
  by: { readonly source: string } | { readonly answerTo: string },
): Promise<Flow[]> {
  const [flag, address] = 'source' in by ? ['-s', by.source] : ['-q', by.answerTo]
  const text = await exec.run(['conntrack', '-L', '-f', familyOf(address), flag, address])
  return text.split('\n').flatMap((line) => parseFlow(line) ?? [])
}

/**
 * Forgets the flows that began at an address or prefix, with `answerTo` only those whose answers go
 * to it; their next packets begin anew.
 */
export async function flushSource(exec: Exec, source: string, answerTo?: string): Promise<void> {
  const answers = answerTo === undefined ? [] : ['-q', answerTo]
  try {
    await exec.run(['conntrack', '-D', '-f', familyOf(source), '-s', source, ...answers])
  } catch (error) {
    // Its way of saying that there were none.
    const none = error instanceof CommandError && / 0 flow entries/.test(error.stderr)
    if (!none) throw error
  }
}

const familyOf = (address: string): string => (address.includes(':') ? 'ipv6' : 'ipv4')

/** One line of `conntrack -L`; undefined when it is none. */
export function parseFlow(line: string): Flow | undefined {
  const [protocol, , , state = ''] = line.split(/\s+/)
  const all = (name: string) =>
    [...line.matchAll(new RegExp(`\\b${name}=(\\S+)`, 'g'))].map(([, value]) => value!)
  const [source] = all('src')
  const [destination, answerTo] = all('dst')
  if (!protocol || !source || !destination || !answerTo) return undefined
  const ports = all('dport')
  // An echo's identifier is the same on both ways, except where translation changed it.
  const id = all('id').at(-1)
  return {
    protocol,
    state: /^[A-Z_0-9]+$/.test(state) ? state : '',
    ...{ source, destination, answerTo },
    destinationPort: Number(ports[0] ?? 0),
    answerPort: Number(ports[1] ?? id ?? 0),
  }
}
