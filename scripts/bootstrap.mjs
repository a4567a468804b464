// Sets up what a fresh machine lacks, then runs one of the project's commands with the pinned Node.
// Plain JavaScript for Node 20 or later, without libraries: it runs before anything is installed.
//
// usage: node scripts/bootstrap.mjs up|test|test:unit|check|format|bench|fuzz [arguments]
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { arch, availableParallelism, platform, userInfo } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const [task = '', ...args] = process.argv.slice(2)

// What the pinned Node is linked to and a minimal system lacks.
const LIBRARIES = { 'libatomic.so.1': 'libatomic1' }
// Which command shows that a package is there, for each task.
const BASE = {
  ip: 'iproute2',
  nft: 'nftables',
  wg: 'wireguard-tools',
  bird: 'bird2',
  conntrack: 'conntrack',
  runc: 'runc',
  conmon: 'conmon',
  tini: 'tini',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  sysctl: 'procps',
  'wireguard-go': 'wireguard-go',
  newuidmap: 'uidmap',
  curl: 'curl',
}
const FUZZ = { nginx: 'nginx-light', haproxy: 'haproxy', python3: 'python3', curl: 'curl' }
const TEST = {
  ...FUZZ,
  dig: 'dnsutils',
  git: 'git',
  openssl: 'openssl',
  proxychains4: 'proxychains4',
  runuser: 'util-linux',
  psql: 'postgresql-client',
  pg_createcluster: 'postgresql',
  tcpdump: 'tcpdump',
  zsh: 'zsh',
  fish: 'fish',
}
// For test/edge-clients.test.ts alone, some of it large.
const CLIENTS = {
  'chromium-headless-shell': 'chromium-headless-shell',
  wrk: 'wrk',
  '/usr/lib/python3/dist-packages/websockets': 'python3-websockets',
}
const BENCH = {
  ...TEST,
  caddy: 'caddy',
  wrk: 'wrk',
  squid: 'squid',
  tinyproxy: 'tinyproxy',
  taskset: 'util-linux',
}
const WANTED = {
  up: BASE,
  test: { ...BASE, ...TEST },
  soak: { ...BASE, ...TEST },
  'test:unit': {},
  check: {},
  format: {},
  bench: { ...BASE, ...BENCH },
  fuzz: FUZZ,
}
// A test that takes longer hangs: it fails by name.
const UNIT_MS_MAX = 240_000
const FLOW_MS_MAX = 1_200_000
const SOAK_MS_MAX = 4 * 3_600_000
// One command, such as all unit tests: what takes longer is ended, and says what it was at.
const PHASE_MS_MAX = task.startsWith('test') ? 80 * 60_000 : undefined
// More at once only make each other late.
const UNIT_FILES_AT_ONCE = Math.max(2, availableParallelism())
const SOAKED = ['test/*.test.ts']
// These measure fail-over, load or starts, and have the machine to themselves. The others mostly wait.
const ALONE = [
  ...['balance', 'control-crash', 'edge-clients', 'egress', 'egress-failover', 'egress-starts'],
  ...['failover', 'main-job', 'security', 'steady-load'],
].map((name) => `test/${name}.test.ts`)
const FLOWS_AT_ONCE = 2
// Packages that would start a service.
const SERVICES = {
  bird2: 'bird',
  'nginx-light': 'nginx',
  postgresql: 'postgresql',
  haproxy: 'haproxy',
  caddy: 'caddy',
  squid: 'squid',
  tinyproxy: 'tinyproxy',
}

main()

function main() {
  if (!(task in WANTED)) fail(`unknown task "${task}"; there are ${Object.keys(WANTED).join(', ')}`)
  if (platform() !== 'linux')
    fail(`Fairway needs Linux; this is ${platform()}. Run it in a virtual machine.`)
  if (!['x64', 'arm64'].includes(arch()))
    fail(`Fairway needs an x86_64 or aarch64 processor; this is ${arch()}.`)
  completePath()
  installPackages({ ...LIBRARIES, ...WANTED[task], ...clientsFor(task, args) })
  installLibraries()
  process.exit(runTask())
}

function clientsFor(wanted, files) {
  if (wanted !== 'test' && wanted !== 'soak') return {}
  return files.length === 0 || files.some((file) => file.includes('edge-clients')) ? CLIENTS : {}
}

function runTask() {
  const node = join(root, 'node_modules', `node-linux-${arch()}`, 'bin', 'node')
  const flags = ['--disable-warning=ExperimentalWarning']
  // Types are stripped and modules compiled once, not by each process.
  const env = {
    NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'fairway'),
    ...process.env,
  }
  const run = (file, argv) =>
    spawnSync(file, argv, { cwd: root, stdio: 'inherit', env, timeout: PHASE_MS_MAX }).status ?? 1
  const tests = (globs, ...more) => run(node, [...flags, '--test', ...more, ...globs])
  const tsc = join(root, 'node_modules', '.bin', 'tsc')
  const biome = join(root, 'node_modules', '@biomejs', `cli-linux-${arch()}`, 'biome')
  const check = () =>
    run(node, [tsc, '--noEmit']) || run(biome, ['check', '--error-on-warnings', '.'])
  const units = (files = ['test/units/*.units.ts', 'src/agent/*.test.ts']) =>
    tests(
      files,
      `--test-concurrency=${UNIT_FILES_AT_ONCE}`,
      `--test-timeout=${UNIT_MS_MAX}`,
      '--import=./test/support/end.ts',
    )
  // What a test that hangs leaves behind must not keep its process. (Not so for unit tests: a group of them
  // loads one file after the other, and would be ended after the first; test/support/end.ts ends them.)
  const flows = (files, { atOnce = 1, msMax = FLOW_MS_MAX } = {}) =>
    tests(files, `--test-concurrency=${atOnce}`, `--test-timeout=${msMax}`, '--test-force-exit')
  const allFlows = () => flows(calmFlows(), { atOnce: FLOWS_AT_ONCE }) || flows(ALONE)
  const given = args.length ? args : undefined
  switch (task) {
    case 'up':
      return run(join(root, 'bin', 'fairway'), ['up', ...args])
    case 'bench':
      return run(node, [...flags, 'bench/main.ts', ...args])
    case 'fuzz':
      return run(node, [...flags, 'fuzz/main.ts', ...args])
    case 'check':
      return check()
    case 'format':
      return run(biome, ['check', '--write', '.'])
    case 'test:unit':
      return units(given)
    // The same tests, with the counts that take hours.
    case 'soak':
      env.FAIRWAY_SOAK = '1'
      return flows(given ?? SOAKED, { msMax: SOAK_MS_MAX })
    default:
      return given ? flows(given) : check() || units() || allFlows()
  }
}

function calmFlows() {
  const names = readdirSync(join(root, 'test')).filter((name) => name.endsWith('.test.ts'))
  return names.map((name) => `test/${name}`).filter((path) => !ALONE.includes(path))
}

function installPackages(commands) {
  const missing = Object.keys(commands).filter((name) => !isThere(name))
  // The kernel's own WireGuard does as well.
  const needed = missing.filter(
    (name) => name !== 'wireguard-go' || !existsSync('/sys/module/wireguard'),
  )
  if (!needed.length) return
  const packages = [...new Set(needed.map((name) => commands[name]))]
  const line = `apt-get install --no-install-recommends ${packages.join(' ')}`
  if (!hasCommand('apt-get'))
    fail(
      `These are missing: ${needed.join(', ')}. Install the packages that have them (on Debian: ${line}).`,
    )
  const sudo = userInfo().uid === 0 ? [] : ['sudo', '-n']
  if (sudo.length && spawnSync('sudo', ['-n', 'true']).status !== 0) {
    // newuidmap only makes things nicer for an ordinary user.
    if (needed.every((name) => name === 'newuidmap')) return
    fail(
      `These Debian packages are missing. Install them once, then run this again:\n\n  sudo ${line}\n`,
    )
  }
  step(`installing Debian packages: ${packages.join(' ')}`)
  withoutServices(sudo, packages, () => {
    const apt = (...argv) =>
      spawnSync([...sudo, 'apt-get'][0], [...sudo, 'apt-get'].slice(1).concat(argv), {
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      })
    apt('update', '-qq')
    const done = apt('install', '-y', '-qq', '--no-install-recommends', ...packages)
    if (done.status !== 0)
      fail(`apt-get could not install them:\n${done.stderr}\nTry by hand: sudo ${line}`)
  })
}

// Installing must not start anything on somebody's machine: invoke-rc.d asks policy-rc.d, and 101
// forbids. Services that came with the packages are not enabled for the next boot either.
function withoutServices(sudo, packages, install) {
  const policy = '/usr/sbin/policy-rc.d'
  const kept = existsSync(policy) ? readFileSync(policy, 'utf8') : undefined
  writeAs(sudo, policy, '#!/bin/sh\nexit 101\n')
  try {
    install()
    const names = packages.map((p) => SERVICES[p]).filter(Boolean)
    if (names.length && existsSync('/run/systemd/system')) {
      const [command, ...rest] = [...sudo, 'systemctl', 'disable', '--quiet', ...names]
      spawnSync(command, rest)
    }
  } finally {
    if (kept !== undefined) writeAs(sudo, policy, kept)
    else {
      const [command, ...rest] = [...sudo, 'rm', '-f', policy]
      spawnSync(command, rest)
    }
  }
}

function writeAs(sudo, path, text) {
  const [command, ...rest] = [...sudo, 'install', '-m', '755', '/dev/stdin', path]
  spawnSync(command, rest, { input: text })
}

// npm ci when the lock file is another than the one that node_modules was made from.
function installLibraries() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  const stamp = join(root, 'node_modules', '.fairway-lock')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return
  step('installing Node and libraries from the lock file (npm ci)')
  const done = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (done.status !== 0)
    fail(
      'npm ci failed; its message is above. It needs the package registry that npm is configured for.',
    )
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(`${stamp}.new`, lock)
  rmSync(stamp, { force: true })
  renameSync(`${stamp}.new`, stamp)
}

// An ordinary user's PATH may leave out where Debian keeps nft, bird and runc.
function completePath() {
  const have = (process.env.PATH ?? '').split(delimiter)
  const wanted = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  process.env.PATH = [...have, ...wanted.filter((dir) => !have.includes(dir))]
    .filter(Boolean)
    .join(delimiter)
}

function isThere(name) {
  if (name.startsWith('/')) return existsSync(name)
  if (!(name in LIBRARIES)) return hasCommand(name)
  const triplet = arch() === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'
  const folders = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', `/usr/lib/${triplet}`]
  return folders.some((dir) => existsSync(join(dir, name)))
}

function hasCommand(name) {
  return process.env.PATH.split(delimiter).some((dir) => existsSync(join(dir, name)))
}

function step(text) {
  process.stderr.write(`  … ${text}\n`)
}

function fail(text) {
  process.stderr.write(`fairway: ${text}\n`)
  process.exit(1)
}
