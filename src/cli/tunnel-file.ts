import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { FairwayError } from '../base/errors.ts'

export const TUNNEL_FOLDER = join(import.meta.dirname, '..', 'tunnel')
export const TUNNEL_ENTRY = join(TUNNEL_FOLDER, 'bin.ts')

interface Module {
  readonly name: string
  readonly text: string
}

const IMPORT = /^import\s+\{([^}]*)\}\s+from\s+'([^']+)'$/gm
const EXPORT = /^export (?=(?:async )?(?:function\*?|class|const) (\w+))/gm

/**
 * The tunnel as one file for Node 20 or later. Each module becomes a function that returns what it
 * exports, in the order of their imports, so that names in one never meet those of another. It is
 * enough for src/tunnel/, which has named imports and exports only and no cycle; else it throws.
 */
export function tunnelFile(version: string): string {
  const order: string[] = []
  const modules = new Map<string, Module>()
  const system = new Set<string>()
  const visit = (path: string, above: readonly string[]): void => {
    if (above.includes(path)) throw unfit(path, 'is in a cycle of imports')
    if (modules.has(path)) return
    const source = stripTypeScriptTypes(readFileSync(path, 'utf8'))
    modules.set(path, { name: '', text: '' })
    const text = source.replace(IMPORT, (_, names: string, from: string) => {
      if (!from.startsWith('.')) {
        system.add(from)
        return bind(names, variable(from))
      }
      const below = join(dirname(path), from)
      visit(below, [...above, path])
      return bind(names, variable(below))
    })
    modules.set(path, { name: variable(path), text })
    order.push(path)
  }
  visit(TUNNEL_ENTRY, [])
  return [
    '#!/usr/bin/env node',
    `// fairway tunnel ${version}: one file for Node 20 or later, made of Fairway's src/tunnel/.`,
    ...[...system].sort().map((from) => `import * as ${variable(from)} from '${from}'`),
    ...order.map((path) => wrapped(path, modules.get(path)!)),
    '',
  ].join('\n')
}

/** The entry stays outside of a function: it waits at its top level. */
function wrapped(path: string, { name, text }: Module): string {
  const exported: string[] = []
  const body = text.replace(EXPORT, (_, exportedName: string) => {
    exported.push(exportedName)
    return ''
  })
  if (/^(?:import|export)\b/m.test(body))
    throw unfit(path, 'has an import or export of another kind')
  const code = body
    .replace(/^[ \t]+$/gm, '')
    .replace(/\n{2,}/g, '\n')
    .trim()
  if (path === TUNNEL_ENTRY) return code
  return `const ${name} = (() => {\n${code}\nreturn { ${exported.join(', ')} }\n})()`
}

/** `{ a, b as c }` of an import as a destructuring. */
const bind = (names: string, from: string): string =>
  `const {${names.replace(/ as /g, ': ')}} = ${from}`

const variable = (from: string): string =>
  from.startsWith('node:')
    ? from.replace(/\W/g, '_')
    : from.slice(TUNNEL_FOLDER.length).replace(/\.ts$/, '').replace(/\W/g, '_')

const unfit = (path: string, why: string) =>
  new FairwayError(
    'tunnel_file',
    `${path} ${why}; src/cli/tunnel-file.ts cannot put that in one file`,
  )
