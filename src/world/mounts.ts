import { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Exec } from '../kernel/exec.ts'

/**
 * The world's own view of the file system, in its own mount namespace: a fresh /run (network
 * namespaces, WireGuard sockets, our own sockets), and a resolv.conf that names the world's resolver.
 */
export async function prepareMounts(
  exec: Exec,
  resolver: { nameserver: string; domain: string },
): Promise<void> {
  // Where /etc/resolv.conf leads is asked before /run disappears: on some systems it leads there.
  const target = resolvConfTarget()
  await exec.run(['mount', '-t', 'tmpfs', '-o', 'mode=755,nosuid,nodev', 'none', '/run'])
  for (const dir of ['/run/netns', '/run/wireguard', '/run/fairway', '/run/lock'])
    mkdirSync(dir, { mode: 0o700 })
  const text = `nameserver ${resolver.nameserver}\nsearch ${resolver.domain}\noptions timeout:1 attempts:3\n`
  if (target.startsWith('/run/')) {
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, text)
    return
  }
  const ours = join('/run/fairway', 'resolv.conf')
  writeFileSync(ours, text, { mode: 0o644 })
  await exec.run(['mount', '--bind', ours, target])
}

function resolvConfTarget(): string {
  const path = '/etc/resolv.conf'
  return existsSync(path) ? realpathSync(path) : path
}
