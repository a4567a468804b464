import type { Path } from './problem.ts'

/**
 * The line of a key in a TOML text, best effort: the parser keeps no positions, so this follows table
 * headers and keys at line starts. Inline tables are found as the line of their own key. Returns the
 * nearest enclosing line, or undefined.
 */
export function locate(text: string, path: Path): number | undefined {
  const counts = new Map<string, number>()
  let table: (string | number)[] = []
  let best: { length: number; line: number } | undefined
  for (const [index, raw] of text.split('\n').entries()) {
    const header = /^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?/.exec(raw)
    const key = header ? undefined : /^\s*([A-Za-z0-9_."'-]+(?:\s*\.\s*[\w-]+)*)\s*=/.exec(raw)?.[1]
    let at: (string | number)[] | undefined
    if (header) {
      table = tablePath(segments(header[2]!), header[1] === '[[', counts)
      at = table
    } else if (key) at = [...table, ...segments(key)]
    const length = at && commonPrefix(at, path)
    if (at && length !== undefined && length > (best?.length ?? 0)) {
      best = { length, line: index + 1 }
    }
  }
  return best?.line
}

const segments = (text: string): string[] =>
  text.split('.').map((part) => part.trim().replace(/^["']|["']$/g, ''))

/** The path of a header, with the indexes of the arrays of tables that it stands in. */
function tablePath(names: string[], array: boolean, counts: Map<string, number>) {
  const path: (string | number)[] = []
  for (const [i, name] of names.entries()) {
    path.push(name)
    const id = path.join('\0')
    const last = i === names.length - 1
    if (last && array) counts.set(id, (counts.get(id) ?? -1) + 1)
    const index = counts.get(id)
    if (index !== undefined) path.push(index)
  }
  return path
}

/** How much of `at` is a prefix of `path`, if all of it is. */
function commonPrefix(at: Path, path: Path): number | undefined {
  // A single table where the normal form has an array: `[services]` is services[0].
  let j = 0
  for (const part of at) {
    if (typeof path[j] === 'number' && typeof part === 'string') j += 1
    if (path[j] !== part) return undefined
    j += 1
  }
  return j
}
