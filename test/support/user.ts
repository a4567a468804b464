import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './world.ts'

/** The account that tests make for themselves when they run as root. */
const NAME = 'fairway-test'
const TUN = '/dev/net/tun'
/** What it was before, when a test has opened it. */
let tunMode: number | undefined
const HOME = '/var/tmp/fairway-test-home'

const PARTS = ['bin', 'src', 'examples', 'package.json', 'package-lock.json', 'node_modules']
const COPY = {
  recursive: true,
  verbatimSymlinks: true,
  filter: (path: string) => !path.includes('/.cache'),
}

/** Takes the user and the copy away again. */
export function removeOrdinaryUser(): void {
  if (process.getuid?.() !== 0) return
  spawnSync('userdel', ['--remove', '--force', NAME])
  if (tunMode !== undefined) chmodSync(TUN, tunMode)
}

/**
 * An ordinary user to run a world as, with a copy of the checkout that it can read. When the tests run
 * as an ordinary user already, that one is tested by the other half, and this says so.
 */
export function ordinaryUser(): { name?: string; fairway?: string; why: string } {
  if (process.getuid?.() !== 0) return { why: 'the tests run as an ordinary user already' }
  if (spawnSync('id', [NAME]).status !== 0) {
    const made = spawnSync(
      'useradd',
      ['--create-home', '--home-dir', HOME, '--shell', '/bin/sh', NAME],
      { encoding: 'utf8' },
    )
    if (made.status !== 0) return { why: `useradd: ${made.stderr.trim()}` }
  }
  if (existsSync(TUN) && (statSync(TUN).mode & 0o006) !== 0o006) {
    // As udev leaves it on most machines; wireguard-go needs it.
    tunMode = statSync(TUN).mode & 0o777
    chmodSync(TUN, 0o666)
  }
  const copy = join(HOME, 'fairway')
  rmSync(copy, { recursive: true, force: true })
  mkdirSync(copy, { recursive: true })
  for (const part of PARTS) cpSync(join(ROOT, part), join(copy, part), COPY)
  spawnSync('chown', ['-R', `${NAME}:`, HOME])
  return { name: NAME, fairway: join(copy, 'bin', 'fairway'), why: '' }
}
