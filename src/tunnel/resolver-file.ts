/**
 * resolv.conf that asks `nameserver` alone. With `everything` names stay as they were typed: a search
 * list would find each of them below its first domain, since every name has an answer.
 */
export function resolverFile(text: string, nameserver: string, everything: boolean): string {
  const dropped = everything ? /^\s*(nameserver|search|domain|options)\b/ : /^\s*nameserver\b/
  const kept = text.split('\n').filter((line) => line.trim() !== '' && !dropped.test(line))
  return [`nameserver ${nameserver}`, ...kept, ''].join('\n')
}
