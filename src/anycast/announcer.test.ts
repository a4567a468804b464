import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import { createAnnouncer } from './announcer.ts'
import type { BirdFiles } from './bird.ts'
import { createBirdFiles, createBirdFileWriter } from './bird-files.ts'

let dir: string
let files: BirdFiles
let commands: string[]
let answers: (() => void)[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'fairway-announce-'))
  files = {
    ...{ serving: join(dir, 's.conf'), v4: join(dir, '4.conf'), v6: join(dir, '6.conf') },
    ...{ egress4: join(dir, 'e4.conf'), egress6: join(dir, 'e6.conf') },
  }
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
  make(async () => '').apply({ anycast: ['2001:db8:1::7', '203.0.113.70'], egress: [] })
  await settle()
  assert.equal(readFileSync(files.v4, 'utf8'), '  route 203.0.113.70/32 blackhole;\n')
  assert.equal(readFileSync(files.v6, 'utf8'), '  route 2001:db8:1::7/128 blackhole;\n')
  assert.deepEqual(commands, ['birdc -s bird.ctl configure'])
})

test('the same set again costs nothing', async () => {
  const announcer = make(async () => '')
  announcer.apply({ anycast: ['203.0.113.70', '203.0.113.71'], egress: [] })
  await settle()
  announcer.apply({ anycast: ['203.0.113.71', '203.0.113.70'], egress: [] })
  await settle()
  assert.equal(commands.length, 1)
})

test('changes while BIRD reads are told together afterwards, the newest last', async () => {
  const announcer = make(() => new Promise((resolve) => answers.push(() => resolve(''))))
  announcer.apply({ anycast: ['203.0.113.70'], egress: [] })
  announcer.apply({ anycast: ['203.0.113.71'], egress: [] })
  announcer.apply({ anycast: ['203.0.113.72'], egress: [] })
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
  }).apply({ anycast: ['203.0.113.70'], egress: [] })
  await settle()
  assert.equal(commands.length, 5)
  assert.match(readFileSync(files.v4, 'utf8'), /113\.70/)
})

test('static sources of several regions have files of their own', async () => {
  make(async () => '').apply({
    anycast: ['203.0.113.70'],
    egress: ['198.51.100.7', '2001:db8:e::7'],
  })
  await settle()
  assert.equal(readFileSync(files.v4, 'utf8'), '  route 203.0.113.70/32 blackhole;\n')
  assert.equal(readFileSync(files.egress4, 'utf8'), '  route 198.51.100.7/32 blackhole;\n')
  assert.equal(readFileSync(files.egress6, 'utf8'), '  route 2001:db8:e::7/128 blackhole;\n')
  assert.equal(commands.length, 1)
})

test('files are made empty, what an earlier agent wrote stays, and no edge serves yet', () => {
  writeFileSync(files.v4, 'kept')
  writeFileSync(files.serving, '')
  createBirdFiles(files)
  assert.equal(readFileSync(files.v4, 'utf8'), 'kept')
  assert.equal(readFileSync(files.egress6, 'utf8'), '')
  assert.equal(readFileSync(files.serving, 'utf8'), '  disabled yes;\n')
})

test('a BIRD that does not answer is told of, once for each change', async () => {
  let untold = 0
  const writer = createBirdFileWriter({
    exec: { run: async () => Promise.reject(new Error('hangs')) },
    clock: { now: () => 0, sleep: async () => {} },
    log: pino({ level: 'silent' }),
    ...{ control: 'bird.ctl', attempts: 1, onUntold: () => untold++ },
  })
  writer.submit({ [files.serving]: 'a' })
  await settle()
  writer.submit({ [files.serving]: 'a' })
  await settle()
  assert.equal(untold, 1)
  assert.equal(readFileSync(files.serving, 'utf8'), 'a')
})
