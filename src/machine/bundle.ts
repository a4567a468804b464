import { existsSync, realpathSync } from 'node:fs'
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import type { Machine } from '../model/resources.ts'
import { ETC_SHARED } from './etc.ts'
import { type SeccompProfile, seccompProfile } from './seccomp.ts'

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
  /** The machine's folder; its rootfs and etc/ lie in there. */
  readonly folder: string
  /** The unpacked artifact. */
  readonly app: string
  readonly netnsPath: string
  readonly uid: number
  readonly nodePath: string
  /** A statically linked init: signals reach the command by it, and zombies are reaped. */
  readonly initPath: string
  /** Path of the machine's cgroup, or null where cgroups are not ours to write. */
  readonly cgroup: string | null
  /** Whether the runtime runs inside a user namespace. */
  readonly userNamespace: boolean
  /** What of the host exists, for tests. */
  readonly shared: readonly SharedPath[]
}

export interface SharedPath {
  readonly destination: string
  readonly source: string
}

/** Raised when `ociConfig` changes, so that bundles of an older version are written anew. */
export const BUNDLE_VERSION = 1
export const PIDS_MAX = 4_096
const SHM_KIB = 65_536
const TMP_SHARE = 0.5

const INIT = '/.fairway/init'
const SYSTEM_FOLDERS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']
const ETC_FILES = ['hosts', 'resolv.conf', 'passwd', 'group', 'nsswitch.conf']

/** Which of the host's folders and files machines see; read once, when the manager starts. */
export function sharedPaths(): SharedPath[] {
  return [...SYSTEM_FOLDERS, ...ETC_SHARED]
    .filter((path) => existsSync(path))
    .map((path) => ({ destination: path, source: realpathSync(path) }))
}

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
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: NO_PROGRAMS },
    tmpfs('/dev/shm', 'mode=1777', SHM_KIB, NO_PROGRAMS),
    tmpfs('/tmp', 'mode=1777', tmpKib, ['nosuid', 'nodev']),
    tmpfs('/run', 'mode=1777', 16_384, ['nosuid', 'nodev']),
    tmpfs('/var/tmp', 'mode=1777', tmpKib, ['nosuid', 'nodev']),
    // Debian's nginx opens its error log and its folders for bodies before it reads a configuration.
    tmpfs('/var/log/nginx', 'mode=1777', 16_384, NO_PROGRAMS),
    tmpfs('/var/lib/nginx', 'mode=1777', tmpKib, NO_PROGRAMS),
    ...input.shared.map(({ destination, source }) => bind(destination, source, 'rbind')),
    ...ETC_FILES.map((name) => bind(`/etc/${name}`, join(folder, 'etc', name), 'bind')),
    bind('/.fairway/bin/node', input.nodePath, 'bind'),
    bind(INIT, input.initPath, 'bind'),
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
 * Writes the bundle's files under `folder`. The files of etc/ are written in place: the mounts of a
 * running machine are of the inode, and a renamed file would not reach it.
 */
export async function writeBundle(
  folder: string,
  config: OciConfig,
  etc: Readonly<Record<string, string>>,
): Promise<void> {
  const etcFolder = join(folder, 'etc')
  await Promise.all([
    mkdir(join(folder, 'bundle', 'rootfs'), { recursive: true, mode: 0o755 }),
    mkdir(etcFolder, { recursive: true, mode: 0o755 }),
  ])
  await chmod(join(folder, 'bundle', 'rootfs'), 0o755) // The machine's own root folder.
  const temporary = join(folder, 'bundle', 'config.json.new')
  await Promise.all([
    // Secrets stand in here and nowhere else on disk.
    writeFile(temporary, JSON.stringify(config), { mode: 0o600 }).then(() =>
      rename(temporary, join(folder, 'bundle', 'config.json')),
    ),
    ...Object.entries(etc).map(async ([name, text]) => {
      await writeFile(join(etcFolder, name), text)
      await chmod(join(etcFolder, name), 0o644) // Whatever the umask says.
    }),
  ])
}
