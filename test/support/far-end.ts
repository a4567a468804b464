import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ROOT, type TestWorld } from './world.ts'

/** Where the far end listens, at the place `internet`. */
export const FAR_END = { place: 'internet', v4: '198.19.1.2', v6: '2001:db8:d000:1::2', port: 7000 }

/** What reached the far end's port, counted by its kernel before anything can drop it. */
export interface Arrived {
  /** Packets with an admitted source, and with any other. */
  readonly right: number
  readonly wrong: number
  /** The sources of the wrong ones. */
  readonly wrongSources: readonly string[]
}

/** A destination outside the platform that admits a list of source addresses and no other. */
export interface FarEnd {
  /** From now on only these are admitted, on the far end's port and on `ports`. */
  admit(addresses: readonly string[], ports?: readonly number[]): Promise<void>
  arrived(): Promise<Arrived>
  close(): Promise<void>
}

export async function startFarEnd(world: TestWorld): Promise<FarEnd> {
  const server = await startServer(world)
  const nft = (text: string) =>
    world.exec(FAR_END.place, ['nft', '-f', '-'], { input: text }).then(() => {})
  return {
    admit: (addresses, ports = []) => nft(ruleset(addresses, [FAR_END.port, ...ports])),
    arrived: async () => {
      const { stdout } = await world.exec(FAR_END.place, [
        ...['nft', '-j', 'list', 'table', 'inet', 'far_end'],
      ])
      return readArrived(stdout)
    },
    async close() {
      server.stdin?.end()
      server.kill()
      await nft('table inet far_end {\n}\ndelete table inet far_end\n')
    },
  }
}

async function startServer(world: TestWorld): Promise<ChildProcess> {
  const script = join(ROOT, 'test', 'support', 'far-end-server.ts')
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', script]
  const argv = ['world', 'exec', FAR_END.place, '--', ...node, String(FAR_END.port)]
  const child = spawn(join(ROOT, 'bin', 'fairway'), argv, {
    env: { ...process.env, FAIRWAY_STATE: world.stateDir },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout! })
  await new Promise<void>((resolve, reject) => {
    lines.once('line', () => resolve())
    child.once('close', (code) => reject(new Error(`the far end ended with ${code}`)))
  })
  return child
}

/** The counters stand before the verdict: a refused packet is counted all the same. */
function ruleset(addresses: readonly string[], ports: readonly number[]): string {
  const of = (v6: boolean) => addresses.filter((a) => a.includes(':') === v6)
  const set = (name: string, type: string, elements: readonly string[]) =>
    `  set ${name} { type ${type};${elements.length ? ` elements = { ${elements.join(', ')} };` : ''} }`
  return `table inet far_end {
}
delete table inet far_end
table inet far_end {
${set('admitted4', 'ipv4_addr', of(false))}
${set('admitted6', 'ipv6_addr', of(true))}
  set wrong4 { type ipv4_addr; size 4096; flags dynamic; }
  set wrong6 { type ipv6_addr; size 4096; flags dynamic; }
  counter right { }
  counter wrong { }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    meta l4proto { tcp, udp } th dport { ${ports.join(', ')} } goto judge
  }
  chain judge {
    ip saddr @admitted4 counter name right accept
    ip6 saddr @admitted6 counter name right accept
    counter name wrong
    add @wrong4 { ip saddr }
    add @wrong6 { ip6 saddr }
  }
  chain input {
    type filter hook input priority filter; policy accept;
    meta l4proto { tcp, udp } th dport { ${ports.join(', ')} } goto admit
  }
  chain admit {
    ip saddr @admitted4 accept
    ip6 saddr @admitted6 accept
    meta l4proto tcp reject with tcp reset
    drop
  }
}
`
}

interface Listed {
  readonly nftables: readonly {
    readonly counter?: { readonly name: string; readonly packets: number }
    readonly set?: { readonly name: string; readonly elem?: readonly unknown[] }
  }[]
}

function readArrived(json: string): Arrived {
  const { nftables } = JSON.parse(json) as Listed
  const packets = (name: string) =>
    nftables.find((item) => item.counter?.name === name)?.counter?.packets ?? 0
  const sources = nftables.flatMap(({ set }) =>
    set?.name.startsWith('wrong') ? (set.elem ?? []) : [],
  )
  return {
    right: packets('right'),
    wrong: packets('wrong'),
    wrongSources: sources.map((element) => JSON.stringify(element)),
  }
}
