import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pino } from 'pino'
import { type NftError, openNftSession } from './nft.ts'

const log = pino({ level: 'silent' })

/** A stand-in for `nft -i`: acknowledges, refuses `bad`, dies at `die`, is silent at `hang`. */
function fakeNft(): string[] {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-nft-'))
  after(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'nft')
  writeFileSync(
    path,
    `#!/bin/sh
while read -r line; do
  case "$line" in
    'describe ip saddr') echo 'payload expression, datatype ipv4_addr (IPv4 address), 32 bits' ;;
    *bad*) echo 'Error: Could not process rule: No such file or directory' >&2; echo "$line" >&2 ;;
    *die-once*) if [ ! -e '${dir}/died' ]; then touch '${dir}/died'; exit 1; fi ;;
    *die*) exit 1 ;;
    *hang*) while read -r line; do :; done ;;
  esac
done
`,
  )
  chmodSync(path, 0o755)
  return ['env', `PATH=${dir}:${process.env.PATH}`]
}

test('answers belong to their commands, in order', async () => {
  const session = openNftSession({ log, prefix: fakeNft() })
  const all = await Promise.allSettled([
    session.transact('add element inet t s { 1 }'),
    session.transact('bad 2'),
    session.transact('add element inet t s { 3 }'),
    session.transact('bad 4'),
  ])
  assert.deepEqual(
    all.map((r) => r.status),
    ['fulfilled', 'rejected', 'fulfilled', 'rejected'],
  )
  const refused = (all[1] as PromiseRejectedResult).reason as NftError
  assert.equal(refused.code, 'nft_refused')
  assert.match(refused.message, /No such file or directory/)
  session.close()
})

test('a death is survived: what waited is sent again, once', async () => {
  const session = openNftSession({ log, prefix: fakeNft() })
  const results = await Promise.allSettled([
    session.transact('die-once'),
    session.transact('add element inet t s { 2 }'),
  ])
  assert.deepEqual(
    results.map((r) => r.status),
    ['fulfilled', 'fulfilled'],
  )
  await assert.rejects(session.transact('die'), { code: 'nft_lost' })
  await session.transact('add element inet t s { 3 }')
  session.close()
})

test('silence ends the process; the queue and a line have limits', async () => {
  const session = openNftSession({ log, prefix: fakeNft(), timeoutMs: 50, queueMax: 2 })
  const waiting = [session.transact('hang'), session.transact('hang')]
  await assert.rejects(session.transact('add'), { code: 'nft_overload' })
  for (const w of waiting) await assert.rejects(w, { code: 'nft_lost' })
  await assert.rejects(session.transact('two\nlines'), { code: 'nft_refused' })
  session.close()
  await assert.rejects(session.transact('add'), { code: 'nft_closed' })
})
