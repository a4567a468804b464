import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { artifactDownloads, DOWNLOADS_MAX } from './downloads.ts'

test('an artifact is fetched once; only the newest are kept', async () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'downloads-')), 'files')
  const fetched: string[] = []
  const download = artifactDownloads(folder, async (digest, file) => {
    fetched.push(digest)
    writeFileSync(file, digest)
    utimesSync(file, fetched.length, fetched.length)
  })
  const digest = (n: number) => `sha256:${n.toString(16).padStart(64, '0')}`
  const [a, b] = await Promise.all([download(digest(1)), download(digest(1))])
  assert.equal(a, b)
  assert.equal(a, join(folder, `${digest(1).slice(7)}.tar.gz`))
  assert.equal(await download(digest(1).slice(7)), a)
  assert.deepEqual(fetched, [digest(1)])
  for (let n = 2; n < 20; n++) await download(digest(n))
  const kept = readdirSync(folder)
  assert.equal(kept.length, DOWNLOADS_MAX)
  assert.ok(kept.includes(`${digest(19).slice(7)}.tar.gz`))
  rmSync(join(folder, '..'), { recursive: true })
})

test('a fetch that failed is tried again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'downloads-'))
  let tries = 0
  const download = artifactDownloads(folder, async (_, file) => {
    if (tries++ === 0) throw new Error('away')
    writeFileSync(file, '')
  })
  await assert.rejects(download('aa'), /away/)
  await download('aa')
  rmSync(folder, { recursive: true })
})
