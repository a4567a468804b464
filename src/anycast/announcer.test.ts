import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import { createAnnounceFiles, createAnnouncer } from './announcer.ts'

let dir: string
let files: { v4: string; v6: string }
let commands: string[]
let answers: (() => void)[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'fairway-announce-'))
  files = { v4: join(dir, '4.conf'), v6: join(dir, '6.conf') }
  commands = []
  answers = []
})
afterEach(() => rmSync(dir, { recursive: true }))

const make = (run: () => Promise<string>) =>
  createAnnouncer({
    exec: {
      run: (argv) => {
        commands.push(argv.join(' '))
        return run()
      },
    },
    clock: { now: () => 0, sleep: async () => {} },
    log: pino({ level: 'silent' }),
    files,
    control: 'bird.ctl',
  })

const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

test('writes both files and tells BIRD', async () => {
  make(async () => '').apply(['2001:db8:1::7', '203.0.113.70'])
  await settle()
  assert.equal(readFileSync(files.v4, 'utf8'), '  route 203.0.113.70/32 blackhole;\n')
  assert.equal(readFileSync(files.v6, 'utf8'), '  route 2001:db8:1::7/128 blackhole;\n')
  assert.deepEqual(commands, ['birdc -s bird.ctl configure'])
})

test('the same set again costs nothing', async () => {
  const announcer = make(async () => '')
  announcer.apply(['203.0.113.70', '203.0.113.71'])
  await settle()
  announcer.apply(['203.0.113.71', '203.0.113.70'])
  await settle()
  assert.equal(commands.length, 1)
})

test('changes while BIRD reads are told together afterwards, the newest last', async () => {
  const announcer = make(() => new Promise((resolve) => answers.push(() => resolve(''))))
  announcer.apply(['203.0.113.70'])
  announcer.apply(['203.0.113.71'])
  announcer.apply(['203.0.113.72'])
  await settle()
  assert.equal(commands.length, 1)
  answers[0]!()
  await settle()
  assert.equal(commands.length, 2)
  assert.match(readFileSync(files.v4, 'utf8'), /113\.72\/32/)
})

test('a BIRD that is away is asked a few times, and the files are right for its start', async () => {
  make(async () => {
    throw new Error('no such socket')
  }).apply(['203.0.113.70'])
  await settle()
  assert.equal(commands.length, 5)
  assert.match(readFileSync(files.v4, 'utf8'), /113\.70/)
})

test('files are made empty, and what an earlier agent wrote stays', () => {
  writeFileSync(files.v4, 'kept')
  createAnnounceFiles(files)
  assert.equal(readFileSync(files.v4, 'utf8'), 'kept')
  assert.equal(readFileSync(files.v6, 'utf8'), '')
})
