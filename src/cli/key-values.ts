import { usage } from './errors.ts'

/** `NAME=value` arguments as a record; `what` names the flag or argument in errors. */
export function keyValues(items: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(
    items.map((item) => {
      const split = item.indexOf('=')
      if (split > 0) return [item.slice(0, split), item.slice(split + 1)]
      throw usage(`${what} "${item.slice(0, 40)}" is not NAME=VALUE.`)
    }),
  )
}

/**
 * What `secrets import` reads: NAME=VALUE lines, `#` comments, values in one or three quotes (the
 * latter over several lines), an `export ` before the name.
 */
export function parseSecretLines(text: string): Record<string, string> {
  const values: Record<string, string> = {}
  const lines = text.split(/\r?\n/)
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!
    if (/^\s*(#|$)/.test(line)) continue
    const match = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s?(.*)$/.exec(line)
    if (!match) throw usage(`Line ${i + 1} is not NAME=VALUE.`)
    const [, name = '', rest = ''] = match
    if (!rest.startsWith('"""')) {
      values[name] = unquoted(rest.trim())
      continue
    }
    const body = [rest.slice(3)]
    const first = i
    while (!body.at(-1)!.endsWith('"""')) {
      i += 1
      if (i >= lines.length) throw usage(`Line ${first + 1}: """ is not closed.`)
      body.push(lines[i]!)
    }
    values[name] = body.join('\n').slice(0, -3).replace(/^\n/, '').replace(/\n$/, '')
  }
  return values
}

const unquoted = (text: string): string =>
  text.length >= 2 && /^(["']).*\1$/s.test(text) ? text.slice(1, -1) : text
