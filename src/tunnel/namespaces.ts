import { tool } from './programs.ts'
import type { Way } from './way.ts'

/**
 * Two ways to give a command a view of its own: as root with namespaces alone, else within a user
 * namespace, where we may do to it what root may.
 */
export type Privilege = 'root' | 'user'

/**
 * Runs `script` (sh; its last line hands over to "$@") in new namespaces, then `runner` as root of
 * them, with the argv of the command as whoever started us. Undefined where the tools are missing.
 */
export function inNamespaces(
  privilege: Privilege,
  kinds: readonly ('mount' | 'net')[],
  script: string,
  args: readonly string[],
  runner: readonly string[] = [],
): Way['wrap'] | undefined {
  const unshare = tool('unshare')
  const sh = tool('sh')
  if (!unshare || !sh) return undefined
  const flags = kinds.map((kind) => `--${kind}`)
  // Root of a user namespace may mount, and below it we are ourselves again.
  const user = privilege === 'user' ? ['--user', '--map-root-user'] : []
  const back = privilege === 'user' ? backToUser(unshare) : []
  const inside = [sh, '-c', script, 'fairway-tunnel', ...args, ...runner, ...back]
  return (command) => [unshare, ...user, ...flags, '--', ...inside, ...command]
}

function backToUser(unshare: string): readonly string[] {
  const [uid, gid] = [process.geteuid!(), process.getegid!()]
  if (uid === 0 && gid === 0) return []
  return [unshare, '--user', `--map-user=${uid}`, `--map-group=${gid}`, '--']
}
