import { addressAt, parsePrefix } from '../base/ip.ts'
import type { Machine } from '../model/resources.ts'

/** Files that a machine finds under /etc, by name: written for it, never the host's own. */
export function etcFiles(
  machine: Pick<Machine, 'id' | 'v4' | 'v6'>,
  user: number,
  resolvers: readonly string[],
): Readonly<Record<string, string>> {
  return {
    hosts: hostsFile(machine),
    'resolv.conf': resolvers.map((address) => `nameserver ${address}\n`).join(''),
    passwd: passwdFile(user),
    group: groupFile(user),
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\n',
  }
}

/** U4: the 6PN name, the machine's own name, and the address that UDP services bind. */
function hostsFile({ id, v4, v6 }: Pick<Machine, 'id' | 'v4' | 'v6'>): string {
  const globalServices = addressAt(parsePrefix(`${v4}/31`)!, 1n)
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    `${v6}\tfly-local-6pn`,
    `${v4}\t${id}`,
    `${globalServices}\tfly-global-services`,
    '',
  ].join('\n')
}

/**
 * Servers look these accounts up and change to them. Where the machine has but uid 0 (one id is
 * mapped), every name is that uid, so that nginx's change to www-data succeeds.
 */
const ACCOUNTS: readonly (readonly [name: string, id: number, home: string])[] = [
  ['www-data', 33, '/var/www'],
  ['nobody', 65_534, '/nonexistent'],
]

function passwdFile(user: number): string {
  const idOf = (id: number) => (user === 0 ? 0 : id)
  const lines = ACCOUNTS.map(
    ([name, id, home]) => `${name}:x:${idOf(id)}:${idOf(id)}:${name}:${home}:/usr/sbin/nologin`,
  )
  if (user !== 0) lines.unshift(`machine:x:${user}:${user}:machine:/tmp:/bin/sh`)
  return `${['root:x:0:0:root:/tmp:/bin/sh', ...lines].join('\n')}\n`
}

function groupFile(user: number): string {
  const idOf = (id: number) => (user === 0 ? 0 : id)
  const lines = [`tty:x:${idOf(5)}:`, `www-data:x:${idOf(33)}:`, `nogroup:x:${idOf(65_534)}:`]
  if (user !== 0) lines.unshift(`machine:x:${user}:`)
  return `${['root:x:0:', ...lines].join('\n')}\n`
}
