import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import type { Machine } from '../model/resources.ts'
import { type SeccompProfile, seccompProfile } from './seccomp.ts'
import { SYSTEM_FOLDER, type SystemFiles } from './system.ts'

/** An OCI runtime bundle (runtime-spec 1.0), the part of it that machines use. */
export interface OciMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}
export interface OciConfig {
  readonly ociVersion: '1.0.2'
  readonly process: {
    readonly terminal: false
    readonly user: { readonly uid: number; readonly gid: number }
    readonly args: readonly string[]
    readonly env: readonly string[]
    readonly cwd: string
    readonly capabilities: Readonly<Record<string, readonly string[]>>
    readonly noNewPrivileges: true
    readonly oomScoreAdj: number
    readonly rlimits: readonly { type: string; hard: number; soft: number }[]
  }
  readonly root: { readonly path: string; readonly readonly: true }
  readonly hostname: string
  readonly mounts: readonly OciMount[]
  readonly linux: {
    readonly namespaces: readonly { readonly type: string; readonly path?: string }[]
    readonly maskedPaths: readonly string[]
    readonly readonlyPaths: readonly string[]
    readonly sysctl: Readonly<Record<string, string>>
    readonly seccomp: SeccompProfile
    readonly cgroupsPath?: string
    readonly resources?: unknown
  }
}

export interface BundleInput {
  readonly machine: Machine
  readonly environment: Readonly<Record<string, string>>
  /** The machine's folder: `bundle/` with config.json and rootfs/, and `etc/`. */
  readonly folder: string
  /** The unpacked artifact. */
  readonly app: string
  readonly netnsPath: string
  readonly uid: number
  readonly nodePath: string
  /** Path of the machine's cgroup, or null where cgroups are not ours to write. */
  readonly cgroup: string | null
  /** Whether the runtime runs inside a user namespace. */
  readonly userNamespace: boolean
  readonly system: SystemFiles
}

/** Raised when `ociConfig` or its stamp changes: bundles of an older version are written anew. */
export const BUNDLE_VERSION = 5
export const PIDS_MAX = 4_096
/** When the host runs out of memory, machines end before edges and agents. */
const OOM_SCORE_ADJ = 500
const SHM_KIB = 65_536
const TMP_SHARE = 0.5

const INIT = `${SYSTEM_FOLDER}/init`

/** The command of a machine: `exec` replaces all, else entrypoint followed by cmd. */
export function machineArgv({ config }: Pick<Machine, 'config'>): string[] {
  const { exec, entrypoint, cmd } = config.init ?? {}
  const argv = exec?.length ? exec : [...(entrypoint ?? []), ...(cmd ?? [])]
  if (argv.length > 0) return argv
  throw new FairwayError(
    'no_command',
    'config.init names no command: set init.cmd, or [processes] in fly.toml',
  )
}

export function ociConfig(input: BundleInput): OciConfig {
  const { machine, uid, cgroup } = input
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid, gid: uid },
      // Pid 1 ignores every signal that it has no handler for, which a command cannot know.
      args: [INIT, '--', ...machineArgv(machine)],
      env: Object.entries(input.environment).map(([name, value]) => `${name}=${value}`),
      cwd: '/app',
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
      oomScoreAdj: OOM_SCORE_ADJ,
      // In a user namespace it is counted per namespace and uid; with cgroups they count better.
      rlimits: cgroup ? [] : [{ type: 'RLIMIT_NPROC', hard: PIDS_MAX, soft: PIDS_MAX }],
    },
    root: { path: 'rootfs', readonly: true },
    hostname: machine.id,
    mounts: mounts(input),
    linux: {
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount', ...(cgroup ? ['cgroup'] : [])].map((type) => ({ type })),
        { type: 'network', path: input.netnsPath },
      ],
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
      // N4: a machine serves port 80 itself, without a capability.
      sysctl: { 'net.ipv4.ip_unprivileged_port_start': '0' },
      seccomp: seccompProfile(),
      ...(cgroup ? { cgroupsPath: cgroup, resources: resources(machine) } : {}),
    },
  }
}

function resources({ config }: Machine): unknown {
  return {
    devices: [{ allow: false, access: 'rwm' }],
    memory: { limit: config.guest.memory_mb * 1024 * 1024 },
    pids: { limit: PIDS_MAX },
  }
}

const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
]
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

function mounts(input: BundleInput): OciMount[] {
  const { machine, folder } = input
  const tmpKib = Math.floor(machine.config.guest.memory_mb * 1024 * TMP_SHARE)
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    tmpfs('/dev', 'mode=755', 65_536, ['nosuid', 'strictatime']),
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      // Group 5 (tty) is not mapped in every user namespace.
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'].concat(
        input.userNamespace ? [] : ['gid=5'],
      ),
    },
    tmpfs('/dev/shm', 'mode=1777', SHM_KIB, NO_PROGRAMS),
    tmpfs('/tmp', 'mode=1777', tmpKib, ['nosuid', 'nodev']),
    // With what the bundle has in it: the hosts file, for the machine to change.
    tmpfs('/run', 'mode=1777', 16_384, ['nosuid', 'nodev', 'tmpcopyup']),
    ...input.system.mounts.map((path) => bind(path, path, 'rbind')),
    bind('/etc', join(folder, 'etc'), 'bind'),
    bind(SYSTEM_FOLDER, input.system.folder, 'bind'),
    bind(`${SYSTEM_FOLDER}/bin/node`, input.nodePath, 'bind'),
    bind('/app', input.app, 'bind'),
  ]
}

const NO_PROGRAMS = ['nosuid', 'noexec', 'nodev']

const tmpfs = (
  destination: string,
  mode: string,
  kib: number,
  flags: readonly string[],
): OciMount => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options: [...flags, mode, `size=${kib}k`],
})

const bind = (destination: string, source: string, how: 'bind' | 'rbind'): OciMount => ({
  destination,
  type: 'bind',
  source,
  options: [how, 'ro', 'nosuid', 'nodev'],
})

/**
 * Links in a machine's root folder. Debian's nginx opens its error log and its folders for bodies
 * before it reads a configuration: they lead to memory that it may write to.
 */
const ROOT_LINKS: readonly (readonly [path: string, target: string])[] = [
  ['var/run', '/run'],
  ['var/tmp', '/tmp'],
  ['var/lib/nginx', '/tmp'],
  ['var/log/nginx', '/tmp'],
]

const WRITABLE = ['tmp', 'run']

/**
 * A machine may change its hosts file, and a tunnel in it does: it is in the machine's own memory,
 * counted and bounded, since a file of the host could be made to fill its disk.
 */
const HOSTS = 'run/hosts'

/**
 * Writes the bundle's files under `folder`, for a machine that has no sandbox. `etc`: the machine's
 * own files there, by name.
 */
export async function writeBundle(
  folder: string,
  config: OciConfig,
  etc: Readonly<Record<string, string>>,
  system: SystemFiles,
): Promise<void> {
  const bundle = join(folder, 'bundle')
  const rootfs = join(bundle, 'rootfs')
  const etcFolder = join(folder, 'etc')
  // Made anew: what an older version put there may stand in the way. What it holds is made here.
  await rm(rootfs, { recursive: true, force: true })
  await Promise.all([
    mkdir(join(rootfs, 'var', 'lib'), { recursive: true }),
    mkdir(join(rootfs, 'var', 'log'), { recursive: true }),
    ...WRITABLE.map((path) => mkdir(join(rootfs, path), { recursive: true })),
    mkdir(etcFolder, { recursive: true }),
  ])
  // The machine's uid is another, whatever our umask is.
  const shown = ['', 'var', 'var/lib', 'var/log'].map((path) => join(rootfs, path))
  const links = [...ROOT_LINKS, ...system.links].map(([path, to]) => [join(rootfs, path), to])
  for (const name of system.etc) links.push([join(etcFolder, name), `${SYSTEM_FOLDER}/etc/${name}`])
  links.push([join(etcFolder, 'hosts'), `/${HOSTS}`])
  const { hosts = '', ...others } = etc
  await Promise.all([
    writeConfig(bundle, config),
    ...[...shown, etcFolder].map((path) => chmod(path, 0o755)),
    // runc gives a tmpfs the mode of the folder that it covers, whatever its options say.
    ...WRITABLE.map((path) => chmod(join(rootfs, path), 0o1777)),
    ...links.map(([path, to]) => linkOnce(path!, to!)),
    // In place: a running machine must see a change, and who has the file open as well.
    ...Object.entries(others).map(([name, text]) => write(join(etcFolder, name), text, 0o644)),
    write(join(rootfs, HOSTS), hosts, 0o666),
  ])
}

/** Whatever our umask is. */
async function write(path: string, text: string, mode: number): Promise<void> {
  await writeFile(path, text)
  await chmod(path, mode)
}

/** The one file with secrets in it. */
async function writeConfig(bundle: string, config: OciConfig): Promise<void> {
  const temporary = join(bundle, 'config.json.new')
  await writeFile(temporary, JSON.stringify(config), { mode: 0o600 })
  await rename(temporary, join(bundle, 'config.json'))
}

async function linkOnce(path: string, target: string): Promise<void> {
  await symlink(target, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}
