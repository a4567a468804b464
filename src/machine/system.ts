import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * What machines see of the host: its programs, mounted, and a copy of the few files that they need
 * beside. A copy, because each mount costs a start half a millisecond, and forty files would be
 * forty mounts.
 */
export interface SystemFiles {
  /** Mounted read-only at `/.fairway`: `init`, `bin/node` (a place to mount it), `etc/`. */
  readonly folder: string
  /** The folder's, which says from which files the copy was made. */
  readonly name: string
  /** Names in `etc/`, which a machine's own /etc links to. */
  readonly etc: readonly string[]
  /** Folders of the host, mounted at the same place. */
  readonly mounts: readonly string[]
  /** Links in the root folder, as the host has them (`bin` to `usr/bin`). */
  readonly links: readonly (readonly [name: string, target: string])[]
}

/** Where the folder appears in a machine. */
export const SYSTEM_FOLDER = '/.fairway'
/** Copies that no bundle names and that are kept all the same: who runs may yet have one mounted. */
export const COPIES_MAX = 4
const LAYOUT = 1

const PROGRAMS = ['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']

/**
 * What of the host's /etc ordinary servers need. Named one by one: no folder that could hold a key
 * or a password (/etc/ssl/private, /etc/shadow) is among them.
 */
export const ETC_SHARED: readonly string[] = [
  'alternatives',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'mime.types',
  'protocols',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
  'nginx/fastcgi.conf',
  'nginx/fastcgi_params',
  'nginx/mime.types',
  'nginx/proxy_params',
  'nginx/scgi_params',
  'nginx/uwsgi_params',
]

/**
 * Makes the copy under `root`, or finds the one that was made of the same files. A running machine
 * has its copy mounted, so a copy is never changed.
 */
export function prepareSystem(root: string, initPath: string): SystemFiles {
  const shared = ETC_SHARED.filter((path) => existsSync(join('/etc', path)))
  const name = fingerprint([initPath, ...shared.map((path) => join('/etc', path))])
  const folder = join(root, name)
  if (!existsSync(folder)) {
    const temporary = `${folder}.new`
    rmSync(temporary, { recursive: true, force: true })
    copySystem(temporary, shared, initPath)
    renameSync(temporary, folder)
  }
  const now = new Date()
  utimesSync(folder, now, now)
  const etc = [...new Set(shared.map((path) => path.split('/')[0]!))]
  return { folder, name, etc, ...programs() }
}

function fingerprint(paths: readonly string[]): string {
  const hash = createHash('sha256').update(String(LAYOUT))
  for (const path of paths) {
    const { size, mtimeMs, ino } = statSync(path)
    hash.update(`${path}\0${size}\0${mtimeMs}\0${ino}\0`)
  }
  return hash.digest('hex').slice(0, 16)
}

function copySystem(folder: string, shared: readonly string[], initPath: string): void {
  const makeFolder = (path: string) => {
    mkdirSync(path, { recursive: true })
    chmodSync(path, 0o755)
  }
  for (const path of [dirname(folder), folder, join(folder, 'bin'), join(folder, 'etc')])
    makeFolder(path)
  copyFileSync(initPath, join(folder, 'init'))
  chmodSync(join(folder, 'init'), 0o755)
  writeFileSync(join(folder, 'bin', 'node'), '', { mode: 0o755 })
  for (const path of shared) {
    const target = join(folder, 'etc', path)
    makeFolder(dirname(target))
    cpSync(join('/etc', path), target, { recursive: true, verbatimSymlinks: true })
  }
}

function programs(): Pick<SystemFiles, 'mounts' | 'links'> {
  const mounts: string[] = []
  const links: [string, string][] = []
  for (const name of PROGRAMS) {
    const found = lstatSync(join('/', name), { throwIfNoEntry: false })
    if (found?.isSymbolicLink()) links.push([name, readlinkSync(join('/', name))])
    else if (found?.isDirectory()) mounts.push(join('/', name))
  }
  return { mounts, links }
}

/** Removes the oldest copies beyond COPIES_MAX, never one of `used`: names that bundles mount. */
export function pruneSystem(root: string, used: ReadonlySet<string>): void {
  const byAge = readdirSync(root)
    .filter((name) => !used.has(name))
    .map((name) => ({ path: join(root, name), mtimeMs: statSync(join(root, name)).mtimeMs }))
    .sort((a, b) => b.mtimeMs - a.mtimeMs)
  for (const { path } of byAge.slice(COPIES_MAX)) rmSync(path, { recursive: true, force: true })
}
