import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { list } from 'tar'
import { type Artifact, imageRef, packFolder } from './artifact.ts'

async function inFolder<T>(
  files: Record<string, string>,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-pack-'))
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function names(artifact: Artifact): Promise<string[]> {
  const found: string[] = []
  await list({
    file: artifact.file,
    onReadEntry: (entry) => void found.push(entry.path.replace(/^\.\//, '')),
  })
  return found
}

const packed = (files: Record<string, string>) =>
  inFolder(files, async (folder) => {
    const artifact = await packFolder(folder)
    const result = { names: await names(artifact), artifact }
    await artifact.remove()
    assert.equal(existsSync(artifact.file), false)
    return result
  })

test('the same contents have the same digest, whatever time, order and owner', async () => {
  const one = await packed({ 'a.txt': 'a', 'b/c.txt': 'c' })
  const two = await inFolder({ 'b/c.txt': 'c' }, async (folder) => {
    writeFileSync(join(folder, 'a.txt'), 'a')
    utimesSync(join(folder, 'a.txt'), 1, 1)
    linkSync(join(folder, 'a.txt'), join(folder, '.git'))
    const artifact = await packFolder(folder)
    await artifact.remove()
    return artifact
  })
  assert.equal(one.artifact.digestHex, two.digestHex)
  assert.deepEqual(one.names, ['a.txt', 'b/', 'b/c.txt'])
  const other = await packed({ 'a.txt': 'A', 'b/c.txt': 'c' })
  assert.notEqual(other.artifact.digestHex, one.artifact.digestHex)
  assert.equal(imageRef('hello', 'ab'), 'registry.fairway.test/hello@sha256:ab')
})

test('.dockerignore decides; .git is never packed', async () => {
  const { names } = await packed({
    '.dockerignore':
      'node_modules\n*.log\n!keep.log\nbuild/\n!build/out.js\n# comment\n**/*.tmp\n.env\n',
    '.env': 'SECRET=1',
    '.git/HEAD': 'x',
    'sub/.git': 'gitdir',
    'node_modules/a/index.js': 'x',
    'error.log': 'x',
    'keep.log': 'x',
    'build/out.js': 'x',
    'build/other.js': 'x',
    'sub/deep.tmp': 'x',
    'Upper.LOG': 'x',
    '@at.txt': 'x',
  })
  assert.deepEqual(names, [
    '.dockerignore',
    '@at.txt',
    'Upper.LOG',
    'build/out.js',
    'keep.log',
    'sub/',
  ])
})

test('links stay links, hard links become files, pipes are left out', async () => {
  await inFolder({ 'a.txt': 'a' }, async (folder) => {
    symlinkSync('a.txt', join(folder, 'link'))
    linkSync(join(folder, 'a.txt'), join(folder, 'hard.txt'))
    execFileSync('mkfifo', [join(folder, 'pipe')])
    const artifact = await packFolder(folder)
    const types: string[] = []
    await list({ file: artifact.file, onReadEntry: (e) => void types.push(`${e.path} ${e.type}`) })
    assert.deepEqual(types, ['./a.txt File', './hard.txt File', './link SymbolicLink'])
    assert.deepEqual(artifact.skipped, ['pipe'])
    await artifact.remove()
  })
})

test('a folder that is too large names its largest files', async () => {
  await inFolder({ 'small.txt': 'x' }, async (folder) => {
    execFileSync('truncate', ['-s', '3G', join(folder, 'huge.bin')])
    await assert.rejects(packFolder(folder), (error: Error) => {
      assert.match(
        error.message,
        /3\.2 GB unpacked[\s\S]*\.dockerignore[\s\S]*3\.2 GB {2}huge\.bin/,
      )
      return true
    })
  })
})
