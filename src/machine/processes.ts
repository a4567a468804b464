import { readdir, readFile, readlink } from 'node:fs/promises'

/** One process of a machine, in the Machines API's shape (`GET /machines/:id/ps`). */
export interface ProcessInfo {
  readonly pid: number
  readonly stat: string
  /** Seconds of processor time, those of it in the kernel, and seconds since its start. */
  readonly cpu: number
  readonly stime: number
  readonly rtime: number
  /** Bytes. */
  readonly rss: number
  readonly vsz: number
  readonly command: string
  readonly directory: string
  readonly listen_sockets: readonly { readonly proto: string; readonly address: string }[]
}

const TICKS_PER_SECOND = 100
const PAGE_BYTES = 4_096
const COMMAND_CHARS_MAX = 4_096
export const PROCESSES_MAX = 1_024

/** The processes in the pid namespace of `initPid`; pids are those inside the machine. */
export async function processesOf(initPid: number): Promise<ProcessInfo[]> {
  const namespace = await readlink(`/proc/${initPid}/ns/pid`).catch(() => undefined)
  if (!namespace) return []
  const uptimeS = Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0])
  const found: ProcessInfo[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || found.length >= PROCESSES_MAX) continue
    const own = await readlink(`/proc/${name}/ns/pid`).catch(() => undefined)
    if (own !== namespace) continue
    const info = await readProcess(name, uptimeS).catch(() => undefined)
    if (info) found.push(info)
  }
  return found.sort((a, b) => a.pid - b.pid)
}

async function readProcess(outerPid: string, uptimeS: number): Promise<ProcessInfo> {
  const folder = `/proc/${outerPid}`
  const [statText, status, cmdline, directory, sockets] = await Promise.all([
    readFile(`${folder}/stat`, 'utf8'),
    readFile(`${folder}/status`, 'utf8'),
    readFile(`${folder}/cmdline`, 'utf8'),
    readlink(`${folder}/cwd`).catch(() => ''),
    listening(folder).catch(() => []),
  ])
  // The name in parentheses may hold anything, spaces and parentheses included.
  const fields = statText.slice(statText.lastIndexOf(')') + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  const innerPid = /^NSpid:.*\s(\d+)$/m.exec(status)?.[1]
  return {
    pid: Number(innerPid ?? outerPid),
    stat: fields[0] ?? '',
    cpu: Math.round((field(14) + field(15)) / TICKS_PER_SECOND),
    stime: Math.round(field(15) / TICKS_PER_SECOND),
    rtime: Math.max(0, Math.round(uptimeS - field(22) / TICKS_PER_SECOND)),
    rss: field(24) * PAGE_BYTES,
    vsz: field(23),
    command: cmdline.replaceAll('\0', ' ').trim().slice(0, COMMAND_CHARS_MAX),
    directory,
    listen_sockets: sockets,
  }
}

/** Sockets of one process that listen, by its descriptors' inodes in its namespace's tables. */
async function listening(folder: string): Promise<{ proto: string; address: string }[]> {
  const inodes = new Set<string>()
  for (const fd of await readdir(`${folder}/fd`)) {
    const target = await readlink(`${folder}/fd/${fd}`).catch(() => '')
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    if (inode) inodes.add(inode)
  }
  if (inodes.size === 0) return []
  const tables = await Promise.all(
    (['tcp', 'tcp6', 'udp', 'udp6'] as const).map(async (proto) => ({
      proto,
      text: await readFile(`${folder}/net/${proto}`, 'utf8').catch(() => ''),
    })),
  )
  return tables.flatMap(({ proto, text }) => listeners(text, proto, inodes))
}

const TCP_LISTEN = '0A'
const UDP_UNCONNECTED = '07'

function listeners(
  text: string,
  proto: 'tcp' | 'tcp6' | 'udp' | 'udp6',
  inodes: ReadonlySet<string>,
): { proto: string; address: string }[] {
  const state = proto.startsWith('tcp') ? TCP_LISTEN : UDP_UNCONNECTED
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === state && inodes.has(fields[9] ?? ''))
    .map((fields) => ({ proto: proto.slice(0, 3), address: hexAddress(fields[1] ?? '') }))
}

/** `0100007F:1F90` as the kernel prints it (32-bit words in host order) to `127.0.0.1:8080`. */
export function hexAddress(text: string): string {
  const [hex = '', port = '0'] = text.split(':')
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) =>
    word
      .match(/../g)!
      .reverse()
      .map((byte) => Number.parseInt(byte, 16)),
  )
  const number = Number.parseInt(port, 16)
  if (bytes.length === 4) return `${bytes.join('.')}:${number}`
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16),
  )
  const host = groups.every((group) => group === '0') ? '::' : groups.join(':')
  return `[${host}]:${number}`
}
