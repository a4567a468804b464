import type { Heard, Told } from './clients.ts'
import type { Field } from './reference.ts'
import type { Read } from './response-reference.ts'

/** What is wrong with what a client was told; empty when nothing is. */
export function judgeResponse(
  k: number,
  { response, interim }: Read,
  { heard, next }: Told,
): string[] {
  const found: string[] = []
  if (next !== null && next !== String(k))
    found.push(`the next request on the connection got ${JSON.stringify(next)}`)
  if (typeof heard === 'string') {
    if (heard === 'hangs' || response.kind !== 'broken') found.push(`${heard}: ${response.kind}`)
    return found
  }
  if (response.kind !== 'whole') {
    const isOwn = heard.status === 502 && heard.body.startsWith('502 Bad Gateway: ')
    const toHead = heard.status === 502 && heard.body === ''
    if (!isOwn && !toHead)
      found.push(`taken for a response: ${JSON.stringify(heard).slice(0, 300)}`)
    return found
  }
  same(found, 'interim responses', interim, heard.interim)
  same(found, 'status', response.status, heard.status)
  same(found, 'reason', response.reason, heard.reason)
  same(found, 'body', response.body, heard.body)
  same(found, 'fields', grouped(response.fields), grouped(withoutEdge(heard, response.hasDate)))
  return found
}

function same(found: string[], what: string, sent: unknown, got: unknown): void {
  const [a, b] = [JSON.stringify(sent), JSON.stringify(got)]
  if (a !== b) found.push(`another ${what}: sent ${a.slice(0, 400)}, got ${b.slice(0, 400)}`)
}

/** Without what the edge has to say: each of it once, and last. */
function withoutEdge({ status, fields }: Heard, hasDate: boolean): Field[] {
  const rest = [...fields]
  const take = (name: string, value: RegExp) => {
    const at = rest.findLastIndex(([n, v]) => n === name && value.test(v))
    if (at < 0) rest.push([name, 'missing'])
    else rest.splice(at, 1)
  }
  take('server', /^fairway$/)
  take('via', /^1\.[01] fly\.io$/)
  take('fly-request-id', /^[0-9A-Z]{26}-iad$/)
  if (!hasDate) take('date', /GMT$/)
  return rest.filter(
    ([name, value]) =>
      !(name === 'connection' && value === 'close') &&
      !(status === 426 && (name === 'upgrade' || name === 'connection')),
  )
}

function grouped(fields: readonly Field[]): [string, string[]][] {
  const groups = new Map<string, string[]>()
  for (const [name, value] of fields) groups.set(name, [...(groups.get(name) ?? []), value])
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1))
}
