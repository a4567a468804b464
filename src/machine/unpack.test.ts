import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  createWriteStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs'
import { mkdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { after, test } from 'node:test'
import { createGzip, gzipSync } from 'node:zlib'
import { Header, type HeaderData, create as pack } from 'tar'
import { artifactFolders, UNUSED_ARTIFACTS_MAX } from './artifacts.ts'
import { unpackArtifact } from './unpack.ts'

const root = mkdtempSync(join(tmpdir(), 'fairway-unpack-'))
after(() => rmSync(root, { recursive: true }))
let count = 0

type Entry = HeaderData & { body?: string }

/** An archive of exactly these headers, such as no packer would write. */
async function archive(entries: readonly Entry[]): Promise<string> {
  const blocks = entries.flatMap(({ body = '', ...data }) => {
    const header = Buffer.alloc(512)
    new Header({ mode: 0o644, type: 'File', ...data, size: Buffer.byteLength(body) }).encode(header)
    const content = Buffer.alloc(Math.ceil(body.length / 512) * 512)
    content.write(body)
    return [header, content]
  })
  const path = join(root, `${++count}.tar.gz`)
  const all = Buffer.concat([...blocks, Buffer.alloc(1024)])
  await pipeline(Readable.from([all]), createGzip(), createWriteStream(path))
  return path
}

async function emptyFolder(): Promise<string> {
  const folder = join(root, `out${++count}`)
  await mkdir(folder)
  return folder
}

test('files, folders and links, as a packer writes them', async () => {
  const app = await emptyFolder()
  await mkdir(join(app, 'bin'))
  await writeFile(join(app, 'bin', 'run'), '#!/bin/sh\n', { mode: 0o700 })
  await writeFile(join(app, 'secret.txt'), 'text', { mode: 0o600 })
  await symlink('/etc/hosts', join(app, 'hosts'))
  const file = join(root, 'packed.tar.gz')
  await pack({ gzip: true, cwd: app, file }, ['.'])
  const out = await emptyFolder()
  await unpackArtifact(file, out)
  assert.equal(readFileSync(join(out, 'secret.txt'), 'utf8'), 'text')
  assert.equal(statSync(join(out, 'secret.txt')).mode & 0o777, 0o444, 'the machine may read it')
  assert.equal(statSync(join(out, 'bin', 'run')).mode & 0o777, 0o555)
  assert.equal(readlinkSync(join(out, 'hosts')), '/etc/hosts', 'kept, for the machine to follow')
})

test('a hard link to a file of the archive', async () => {
  const file = await archive([
    { path: 'a', body: 'x' },
    { path: 'b', type: 'Link', linkpath: './a' },
  ])
  const out = await emptyFolder()
  await unpackArtifact(file, out)
  assert.equal(readFileSync(join(out, 'b'), 'utf8'), 'x')
})

const refused: [name: string, entries: Entry[], message: RegExp][] = [
  ['an absolute path', [{ path: '/abs', body: 'x' }], /relative/],
  ['a path that steps up', [{ path: 'a/../../up', body: 'x' }], /leaves/],
  ['a device', [{ path: 'dev', type: 'CharacterDevice' }], /CharacterDevice/],
  ['a fifo', [{ path: 'fifo', type: 'FIFO' }], /FIFO/],
  [
    'a file through a symbolic link',
    [
      { path: 'l', type: 'SymbolicLink', linkpath: '/tmp' },
      { path: 'l/x', body: 'x' },
    ],
    /not a folder/,
  ],
  [
    'a file in place of a symbolic link',
    [
      { path: 'l', type: 'SymbolicLink', linkpath: '/tmp/x' },
      { path: 'l', body: 'x' },
    ],
    /twice/,
  ],
  ['a hard link to outside', [{ path: 'h', type: 'Link', linkpath: '/etc/passwd' }], /relative/],
  ['a hard link upwards', [{ path: 'h', type: 'Link', linkpath: '../x' }], /leaves/],
  [
    'a hard link to a symbolic link',
    [
      { path: 'l', type: 'SymbolicLink', linkpath: 'x' },
      { path: 'h', type: 'Link', linkpath: 'l' },
    ],
    /no file/,
  ],
  [
    'a file below a file',
    [
      { path: 'f', body: 'x' },
      { path: 'f/g', body: 'x' },
    ],
    /not a folder/,
  ],
]
for (const [name, entries, message] of refused)
  test(`refused: ${name}`, async () => {
    const file = await archive(entries)
    await assert.rejects(unpackArtifact(file, await emptyFolder()), {
      code: 'bad_artifact',
      message,
    })
  })

test('refused: too many bytes, too many entries, no archive', async () => {
  const file = await archive([
    { path: 'a', body: 'x'.repeat(600) },
    { path: 'b', body: 'x'.repeat(600) },
  ])
  const unpack = async (limits: object) =>
    unpackArtifact(file, await emptyFolder(), { bytesMax: 1e9, entriesMax: 10, ...limits })
  await unpack({})
  await assert.rejects(unpack({ bytesMax: 1_000 }), /1000 bytes/)
  await assert.rejects(unpack({ entriesMax: 1 }), /1 entries/)
  const noise = join(root, 'noise')
  await writeFile(noise, Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(2_000, 7)]))
  await assert.rejects(unpackArtifact(noise, await emptyFolder()), { code: 'bad_artifact' })
})

test('refused: what swells without end while nothing of it would be a file', async () => {
  const unpack = async (path: string) =>
    unpackArtifact(path, await emptyFolder(), { bytesMax: 10_000, entriesMax: 10 })
  const pax = {
    path: 'x',
    type: 'GlobalExtendedHeader',
    body: `20 comment=${'x'.repeat(8)}\n`,
  } as const
  await assert.rejects(unpack(await archive(Array(2_000).fill(pax))), { message: /unpacked/ })
  // In the middle of a file.
  const half = await archive([...Array(100).fill(pax), { path: 'a', body: 'x'.repeat(90_000) }])
  await assert.rejects(
    unpackArtifact(half, await emptyFolder(), { bytesMax: 90_000, entriesMax: 1 }),
    { message: /unpacked/ },
  )
  const swollen = join(root, 'swollen.tar.gz')
  const blocks = [gzipSync(Buffer.alloc(100_000)), gzipSync(Buffer.alloc(100_000))]
  await writeFile(swollen, Buffer.concat(blocks))
  await assert.rejects(unpack(swollen), { message: /unpacked/ })
  const twice = join(root, 'twice.tar.gz')
  await writeFile(twice, gzipSync(readFileSync(await archive([{ path: 'a', body: 'x' }]))))
  await assert.rejects(unpack(twice), { code: 'bad_artifact', message: /twice/ })
})

test('refused: an archive that breaks off, wherever it does', async () => {
  const whole = readFileSync(
    await archive([
      { path: 'a', body: randomBytes(40_000).toString('hex') },
      { path: 'b/c', body: randomBytes(40_000).toString('hex') },
    ]),
  )
  for (const share of [0.1, 0.5, 0.9, 0.999]) {
    const path = join(root, `half${share}.tar.gz`)
    await writeFile(path, whole.subarray(0, whole.length * share))
    await assert.rejects(unpackArtifact(path, await emptyFolder()), { code: 'bad_artifact' })
  }
})

test('an artifact is unpacked once, by its digest', async () => {
  const file = await archive([{ path: 'a', body: 'x' }])
  const folder = join(root, 'artifacts')
  let fetches = 0
  const artifacts = artifactFolders(folder, async () => {
    fetches += 1
    return file
  })
  const digest = 'ab'.repeat(32)
  const paths = await Promise.all([artifacts.folder(digest), artifacts.folder(`sha256:${digest}`)])
  assert.deepEqual(new Set(paths), new Set([join(folder, digest)]))
  await artifacts.folder(digest)
  assert.equal(fetches, 1)
  assert.throws(() => artifacts.folder('../etc'), /sha256/)
})

test('a bad artifact leaves nothing behind', async () => {
  const file = await archive([{ path: '/abs', body: 'x' }])
  const folder = join(root, 'bad')
  await assert.rejects(artifactFolders(folder, async () => file).folder('cd'.repeat(32)))
  assert.deepEqual(readdirSync(folder), [])
  assert.ok(!existsSync(file))
})

test('an artifact that was torn on the disk is fetched anew', async () => {
  const whole = await readFile(await archive([{ path: 'a', body: 'x' }]))
  const file = join(root, 'torn.tar.gz')
  await writeFile(file, whole.subarray(0, whole.length / 2))
  const artifacts = artifactFolders(join(root, 'torn'), async () => {
    if (!existsSync(file)) await writeFile(file, whole)
    return file
  })
  const digest = 'ef'.repeat(32)
  await assert.rejects(artifacts.folder(digest), { code: 'bad_artifact' })
  assert.deepEqual(readdirSync(await artifacts.folder(digest)), ['a'])
})

test('the longest unused go first; what runs and what is fresh stays', async () => {
  const folder = join(root, 'prune')
  const digests = Array.from({ length: UNUSED_ARTIFACTS_MAX + 3 }, (_, i) =>
    i.toString(16).padStart(64, '0'),
  )
  for (const [i, digest] of digests.entries()) {
    await mkdir(join(folder, digest), { recursive: true })
    await utimes(join(folder, digest), i + 1, i + 1)
  }
  await mkdir(join(folder, `${'f'.repeat(64)}.new`))
  await artifactFolders(folder, () => Promise.reject(new Error())).prune(new Set([digests[0]!]))
  const expected = [digests[0]!, ...digests.slice(-UNUSED_ARTIFACTS_MAX)]
  assert.deepEqual(readdirSync(folder).toSorted(), expected)
})
