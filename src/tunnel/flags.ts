import { TunnelError } from './failure.ts'

export const MODES = ['auto', 'ports', 'names', 'group', 'network'] as const
/**
 * How connections are carried: by mapped ports alone, by name, steered by control group, in a network
 * of the command's own, or what fits best.
 */
export type Mode = (typeof MODES)[number]

export interface Flags {
  readonly proxy: string | undefined
  readonly map: readonly string[]
  readonly to: readonly string[]
  readonly all: boolean
  readonly mode: Mode | undefined
  readonly config: string | undefined
  readonly verbose: boolean
  readonly help: boolean
  readonly command: readonly string[]
}

export const HELP = `usage: fairway tunnel [flags] -- command [arguments]

Runs the command so that its TCP connections leave through an outbound proxy.

  --proxy URL     http://user:password@host:port, https://, socks5:// or socks5s:// (TLS);
                  better in FAIRWAY_OUTBOUND_URL or QUOTAGUARDSTATIC_URL, where nobody sees it
  --map SPEC      [listen:]port:host:port: a local port that leads to host:port (repeatable)
  --to HOST:PORT  carry connections to this destination, at its own name (repeatable);
                  else QGTUNNEL_DESTINATIONS=host:port,host:port
  --all           carry every connection; so it is when neither --map nor --to is given
  --mode MODE     auto (default), ports, names, group or network; see docs/tunnel.md
  --config FILE   settings, else fairway-tunnel.json here if there is one
  --verbose       say how connections are carried, and each one
  --write FILE    (fairway only) write this program as one file for Node 20 or later
  --help
`

const VALUES = ['proxy', 'map', 'to', 'mode', 'config'] as const
const SWITCHES = ['all', 'verbose', 'help'] as const

/** Reads flags up to `--` or the first word that is none: the command begins there. */
export function parseFlags(args: readonly string[]): Flags {
  const values: Record<(typeof VALUES)[number], string[]> = {
    ...{ proxy: [], map: [], to: [], mode: [], config: [] },
  }
  const on = new Set<string>()
  let i = 0
  for (; i < args.length; i++) {
    const arg = args[i]!
    if (arg === '--') {
      i += 1
      break
    }
    if (!arg.startsWith('-')) break
    const [, name = '', attached] = /^--([a-z]+)(?:=(.*))?$/s.exec(arg) ?? []
    if ((VALUES as readonly string[]).includes(name)) {
      const value = attached ?? args[++i]
      if (value === undefined || value === '') throw new TunnelError(`--${name} needs a value`)
      values[name as keyof typeof values].push(value)
    } else if ((SWITCHES as readonly string[]).includes(name) && attached === undefined)
      on.add(name)
    // Never the whole argument: what stands in the wrong place may hold a password.
    else throw new TunnelError(`unknown flag ${name ? `--${name}` : arg.slice(0, 2)}; see --help`)
  }
  for (const name of ['proxy', 'mode', 'config'] as const)
    if (values[name].length > 1) throw new TunnelError(`--${name} can be given once`)
  return {
    proxy: values.proxy[0],
    map: values.map,
    to: values.to,
    all: on.has('all'),
    mode: modeOf(values.mode[0]),
    config: values.config[0],
    verbose: on.has('verbose'),
    help: on.has('help'),
    command: args.slice(i),
  }
}

function modeOf(text: string | undefined): Mode | undefined {
  const mode = MODES.find((known) => known === text)
  if (text !== undefined && !mode)
    throw new TunnelError(`--mode ${JSON.stringify(text)}: there are ${MODES.join(', ')}`)
  return mode
}
