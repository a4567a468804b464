import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { ROOT } from './support/world.ts'

/**
 * The tree is the architecture: what each folder of src/ may import. Nothing points upward, and the
 * data planes (proxy, dns) know the view and nothing else: no store, no kernel, not each other.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  model: ['base'],
  store: ['base', 'model'],
  view: ['base', 'model'],
  proxy: ['base', 'model', 'view'],
  dns: ['base', 'model', 'view'],
  kernel: ['base', 'model'],
  machine: ['base', 'model', 'kernel'],
  egress: ['base', 'model', 'kernel'],
  mesh: ['base', 'model', 'kernel', 'machine', 'egress'],
  outbound: ['base', 'model'],
  tunnel: [],
  anycast: ['base', 'model', 'kernel'],
  control: ['base', 'model', 'store', 'view'],
  api: ['base', 'model', 'store', 'view', 'control'],
  agent: [
    'base',
    'model',
    'store',
    'view',
    'proxy',
    'dns',
    'kernel',
    'machine',
    'mesh',
    'anycast',
    'egress',
    'outbound',
  ],
  world: ['base', 'model', 'view', 'dns', 'kernel', 'anycast', 'control', 'agent'],
  cli: ['base', 'model', 'world', 'tunnel'],
}

interface Import {
  readonly file: string
  readonly from: string
  readonly to: string
  readonly target: string
}

/** Every relative import between folders of src/. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const found = text.matchAll(/(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g)
  return [...found].flatMap(([, path]) => {
    const target = relative(ROOT, join(ROOT, dirname(file), path!))
    const to = target.split('/')[1]!
    const from = file.split('/')[1]!
    return target.startsWith('src/') && to !== from ? [{ file, from, to, target }] : []
  })
}

const files = globSync('src/**/*.ts', { cwd: ROOT })
const product = files.filter((f) => !f.endsWith('.test.ts'))

test('the test looks at the whole tree', () => {
  assert.ok(product.length > 50, `only ${product.length} files under src/`)
  const imports = product.flatMap(importsOf)
  assert.ok(imports.length > 100, `only ${imports.length} imports between folders`)
})

test('every folder is named here, and every rule names a folder', () => {
  const folders = new Set(files.map((f) => f.split('/')[1]!))
  assert.deepEqual([...folders].sort(), Object.keys(MAY_IMPORT).sort())
})

test('imports go downward only', () => {
  const wrong = product.flatMap(importsOf).filter((i) => !MAY_IMPORT[i.from]?.includes(i.to))
  assert.deepEqual(
    wrong.map((i) => `${i.file} imports ${i.target}`),
    [],
  )
})

test('the rules themselves have no cycle', () => {
  const seen = new Set<string>()
  const visit = (folder: string, path: readonly string[]): void => {
    assert.ok(!path.includes(folder), `cycle: ${[...path, folder].join(' -> ')}`)
    if (seen.has(folder)) return
    for (const below of MAY_IMPORT[folder] ?? []) visit(below, [...path, folder])
    seen.add(folder)
  }
  for (const folder of Object.keys(MAY_IMPORT)) visit(folder, [])
})

test('only src/kernel starts commands, apart from those who wire processes', () => {
  const allowed = /^src\/(kernel|world|cli|tunnel)\//
  const wrong = product.filter(
    (f) => !allowed.test(f) && /node:child_process/.test(readFileSync(join(ROOT, f), 'utf8')),
  )
  assert.deepEqual(wrong, [])
})
