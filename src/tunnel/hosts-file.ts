/** Which address a name has for the command. */
export interface HostEntry {
  readonly name: string
  /** An IPv4 address of the loopback network. */
  readonly address: string
}

const MARK = '# fairway-tunnel'
const BLOCK = /^# fairway-tunnel (\d+) begin\n[\s\S]*?^# fairway-tunnel \1 end\n/gm

/**
 * A hosts file with our entries first, and without the names elsewhere. Each has its address twice:
 * a look-up for IPv6 alone would otherwise go on to DNS, and round the tunnel. The mapped form
 * (RFC 4291 2.5.5.2) reaches the same IPv4 listener.
 */
export function withEntries(text: string, entries: readonly HostEntry[], owner: number): string {
  const names = new Set(entries.map(({ name }) => name))
  const lines = entries.flatMap(({ name, address }) => [
    `${address}\t${name}`,
    `::ffff:${address}\t${name}`,
  ])
  const others = text.split('\n').flatMap((line) => withoutNames(line, names))
  return `${MARK} ${owner} begin\n${lines.join('\n')}\n${MARK} ${owner} end\n${others.join('\n')}`
}

/** Without the entries of `owner` and of tunnels that ended without taking theirs away. */
export function withoutEntries(
  text: string,
  owner: number,
  isAlive: (pid: number) => boolean,
): string {
  return text.replace(BLOCK, (block, pid) =>
    Number(pid) === owner || !isAlive(Number(pid)) ? '' : block,
  )
}

function withoutNames(line: string, names: ReadonlySet<string>): string[] {
  const [address, ...rest] = line.replace(/#.*/, '').trim().split(/\s+/)
  const kept = rest.filter((name) => !names.has(name.toLowerCase().replace(/\.$/, '')))
  if (kept.length === rest.length) return [line]
  return kept.length > 0 ? [`${address}\t${kept.join(' ')}`] : []
}

/** nsswitch.conf with the hosts file asked first: some systems ask a daemon, which has its own. */
export const filesFirst = (text: string): string => text.replace(/^(\s*hosts:).*$/m, '$1 files dns')
