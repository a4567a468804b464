import { CommandError, type Exec } from '../kernel/exec.ts'

/**
 * A kernel in memory for tests: WireGuard peers, routes, and the firewall's sets, behind the same
 * commands. Fails on every command that it does not know.
 */
export class FakeKernel implements Exec {
  readonly peers = new Map<string, { endpoint: string; allowedIps: string[] }>()
  readonly routes = new Map<string, { type: string; dst: string }>()
  readonly sets = new Map<string, Set<string>>()
  readonly commands: string[] = []
  privateKey = '(none)'
  listenPort = 0
  /** Commands that contain it fail. */
  failing: string | undefined

  async run(argv: readonly string[], { stdin = '' } = {}): Promise<string> {
    const command = argv.join(' ')
    this.commands.push(command)
    if (this.failing !== undefined && command.includes(this.failing))
      throw new CommandError(argv, 1, 'made to fail')
    if (argv[0] === 'sysctl') return ''
    if (command === 'nft -f -') return this.#nft(argv, stdin)
    if (command.startsWith('nft -j list set inet fairway ')) return this.#listSet(argv)
    if (command === 'ip -batch -') return this.#ip(argv, stdin)
    if (command === 'ip -j link show group 42') return '[]'
    const routes = /^ip -j -(4|6) route show table all proto 146$/.exec(command)
    if (routes) return this.#listRoutes(routes[1] === '6')
    if (argv[0] === 'wg') return this.#wg(argv)
    throw new CommandError(argv, 1, `the fake kernel does not know: ${command}`)
  }

  #wg(argv: readonly string[]): string {
    const [, verb, , ...words] = argv
    if (verb === 'show') {
      const peers = [...this.peers].map(
        ([key, p]) => `${key}\t(none)\t${p.endpoint}\t${p.allowedIps.join(',')}\t0\t0\t0\toff\n`,
      )
      return `${this.privateKey}\tPUBLIC\t${this.listenPort}\toff\n${peers.join('')}`
    }
    if (verb !== 'set') throw new CommandError(argv, 1, 'unknown')
    if (words[0] === 'listen-port') {
      this.listenPort = Number(words[1])
      this.privateKey = 'SET'
      return ''
    }
    for (let i = 0; i < words.length; ) {
      const key = words[i + 1]!
      if (words[i + 2] === 'remove') {
        this.peers.delete(key)
        i += 3
        continue
      }
      const allowedIps = words[i + 5]!.split(',')
      // As in the kernel: a prefix belongs to the last peer that was given it.
      for (const peer of this.peers.values())
        peer.allowedIps = peer.allowedIps.filter((p) => !allowedIps.includes(p))
      this.peers.set(key, { endpoint: words[i + 3]!, allowedIps })
      i += 6
    }
    return ''
  }

  #ip(argv: readonly string[], stdin: string): string {
    for (const line of stdin.trim().split('\n')) {
      const route = /^route (replace|del) (\S+) (\S+)(?: dev \S+)? proto 146$/.exec(line)
      if (route) {
        const [, verb, type, dst] = route
        if (verb === 'replace') this.routes.set(`${type} ${dst}`, { type: type!, dst: dst! })
        else if (!this.routes.delete(`${type} ${dst}`)) throw new CommandError(argv, 2, line)
      } else if (!/^(link set dev|addr replace) /.test(line)) throw new CommandError(argv, 1, line)
    }
    return ''
  }

  #listRoutes(v6: boolean): string {
    const rows = [...this.routes.values()].filter(({ dst }) => dst.includes(':') === v6)
    return JSON.stringify(rows)
  }

  #nft(argv: readonly string[], stdin: string): string {
    if (stdin.startsWith('table inet fairway')) {
      this.sets.clear()
      for (const [, name, keys] of stdin.matchAll(
        /set (hosts[46]) .*?(?:elements = \{(.*?)\};)? \}/g,
      ))
        this.sets.set(
          name!,
          new Set(
            (keys ?? '')
              .split(',')
              .map((k) => k.trim())
              .filter(Boolean),
          ),
        )
      return ''
    }
    for (const line of stdin.trim().split('\n')) {
      const [, verb, name, key] = /^(add|delete) element inet fairway (\S+) \{ (\S+) \}$/.exec(
        line,
      )!
      const set = this.sets.get(name!)!
      if (verb === 'add') set.add(key!)
      else if (!set.delete(key!)) throw new CommandError(argv, 1, 'No such file or directory')
    }
    return ''
  }

  #listSet(argv: readonly string[]): string {
    const set = this.sets.get(argv.at(-1)!)
    if (!set) throw new CommandError(argv, 1, 'Error: No such file or directory')
    const elem = set.size > 0 ? { elem: [...set] } : {}
    return JSON.stringify({ nftables: [{ metainfo: {} }, { set: { name: argv.at(-1), ...elem } }] })
  }
}
