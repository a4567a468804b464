import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { appendFile, rename, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { type Clock, systemClock } from '../../base/clock.ts'
import type { LogLine } from '../../model/wire.ts'
import { BoundedLog } from './bounded-log.ts'
import { byTime, ContainerLogDecoder, LOG_LINE_BYTES_MAX, splitLines } from './codec.ts'
import { LogStore } from './store.ts'
import { type LogPosition, READ_BYTES_MAX, readMore, readTail } from './tail.ts'

const root = mkdtempSync(join(tmpdir(), 'fairway-logs-'))
after(() => rmSync(root, { recursive: true }))
const at = (ms: number) => new Date(ms).toISOString().replace('Z', '000000+00:00')
const line = (ms: number, text: string, mark = 'F', stream = 'stdout') =>
  `${at(ms)} ${stream} ${mark} ${text}\n`

test('parts are joined, for each stream by itself', () => {
  const text = line(1, 'a', 'P') + line(2, 'x', 'F', 'stderr') + line(3, 'b', 'P') + line(4, 'c')
  const entries = new ContainerLogDecoder().push(Buffer.from(text))
  assert.deepEqual(
    entries.map((entry) => entry.text),
    ['x', 'abc'],
  )
  assert.equal(entries[1]?.timestamp, '1970-01-01T00:00:00.001000000Z', 'when the line began')
})

test('empty lines, foreign lines, other time zones', () => {
  const text = `${line(1, '')}garbage\n2026-01-01T02:00:00.5+02:00 stdout F later\n`
  const entries = new ContainerLogDecoder().push(Buffer.from(text))
  assert.deepEqual(entries, [
    { timestamp: '1970-01-01T00:00:00.001000000Z', text: '' },
    { timestamp: '2026-01-01T00:00:00.5Z', text: 'later' },
  ])
})

test('a line without end is cut, and the next one is whole', () => {
  const decoder = new ContainerLogDecoder()
  const part = Buffer.from(line(1, 'x'.repeat(8_192), 'P'))
  for (let i = 0; i < 20; i++) assert.deepEqual(decoder.push(part), [])
  const [cut, next] = decoder.push(Buffer.from(line(2, 'end') + line(3, 'next')))
  assert.equal(cut?.text.length, LOG_LINE_BYTES_MAX)
  assert.equal(next?.text, 'next')
})

test('bytes in whatever pieces decode to the same lines', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme' }).map((s) => s.replaceAll('\n', ' '))),
      fc.array(fc.integer({ min: 1, max: 30 })),
      (texts, sizes) => {
        const bytes = Buffer.from(texts.map((text, i) => line(i, text)).join(''))
        const decoder = new ContainerLogDecoder()
        const seen: string[] = []
        for (let from = 0, i = 0; from < bytes.length; i++) {
          const size = sizes[i % (sizes.length || 1)] ?? 7
          for (const { text } of decoder.push(bytes.subarray(from, from + size))) seen.push(text)
          from += size
        }
        assert.deepEqual(seen, texts)
      },
    ),
  )
})

test('order of times with unequal precision', () => {
  const times = ['2026-01-01T00:00:00.12Z', '2026-01-01T00:00:00.119999Z', '2026-01-01T00:00:00Z']
  const sorted = times.map((timestamp) => ({ timestamp })).sort(byTime)
  assert.deepEqual(
    sorted.map(({ timestamp }) => timestamp),
    times.toReversed(),
  )
})

async function readAll(path: string, from: LogPosition): Promise<[string, LogPosition]> {
  let text = ''
  let position = from
  for (let chunk = await readMore(path, position); chunk; chunk = await readMore(path, position)) {
    text += chunk.bytes.toString()
    position = chunk.position
  }
  return [text, position]
}

test('following loses nothing when the file is turned over between reads', async () => {
  const path = join(root, 'turn.log')
  await writeFile(path, 'one\ntwo\n')
  const tail = await readTail(path, 10)
  assert.equal(tail.bytes.toString(), 'one\ntwo\n')
  let position = tail.position
  const next = async () => {
    const [text, after] = await readAll(path, position)
    position = after
    return text
  }
  await appendFile(path, 'three\n')
  await rename(path, `${path}.1`)
  await appendFile(`${path}.1`, 'four\n')
  assert.equal(await next(), 'three\nfour\n', 'the new file is not there yet')
  await appendFile(`${path}.1`, 'five\n')
  await writeFile(path, 'six\n')
  assert.equal(await next(), 'five\nsix\n')
  await appendFile(path, 'x'.repeat(READ_BYTES_MAX * 2))
  assert.equal((await next()).length, READ_BYTES_MAX * 2)
  await truncate(path)
  await appendFile(path, 'anew\n')
  assert.equal(await next(), 'anew\n')
})

test('a tail looks into the file before, and leaves an unfinished line for later', async () => {
  const path = join(root, 'tail.log')
  await writeFile(`${path}.1`, 'a\nb\n')
  await writeFile(path, 'c\nunfin')
  const tail = await readTail(path, 3)
  assert.equal(tail.bytes.toString(), 'a\nb\nc\n')
  await appendFile(path, 'ished\n')
  assert.equal((await readAll(path, tail.position))[0], 'unfinished\n')
  assert.deepEqual((await readTail(join(root, 'none'), 3)).position, { inode: 0, offset: 0 })
})

test('a bounded log keeps the newest lines in two files', async () => {
  const path = join(root, 'deep', 'bounded.log')
  const log = new BoundedLog(path, 1_000, (count) => `dropped ${count}`)
  for (let i = 0; i < 500; i++) {
    log.append(`line ${i}`)
    if (i % 20 === 0) await log.flush()
  }
  await log.flush()
  assert.ok(statSync(path).size <= 1_200 && statSync(`${path}.1`).size <= 1_200)
  assert.match(readFileSync(path, 'utf8'), /line 499\n$/)
})

test('a bounded log says what it had to drop', async () => {
  const path = join(root, 'flood.log')
  const log = new BoundedLog(path, 1e9, (count) => `dropped ${count}`)
  for (let i = 0; i < 30; i++) log.append('x'.repeat(100_000))
  await log.flush()
  log.append('after')
  await log.flush()
  assert.match(readFileSync(path, 'utf8'), /\ndropped \d+\n/)
})

test('splitLines keeps the rest', () => {
  const { lines, rest } = splitLines(Buffer.from('ab'), Buffer.from('c\nd\ne'))
  assert.deepEqual([lines.map(String), String(rest)], [['abc', 'd'], 'e'])
})

/** Waits that are there to end something take longer on a machine that pauses. */
const PATIENT: Clock = {
  now: () => systemClock.now(),
  sleep: (ms, signal) => systemClock.sleep(ms < 1_000 ? ms : 10 * ms, signal),
}

function store(name: string, machines: string[]): LogStore {
  const stateDir = join(root, name)
  const folder = (id: string) => join(stateDir, 'machines', id)
  for (const id of machines) mkdirSync(join(folder(id), 'log'), { recursive: true })
  return new LogStore({
    ...{ stateDir, host: 'iad1', region: 'iad', clock: PATIENT, folder },
    machinesOf: (app) => (app === 'web' ? machines : []),
  })
}

const appLog = (name: string, id: string) => join(root, name, 'machines', id, 'log', 'app.log')
const edgeLine = (ms: number, message: string): LogLine => ({
  ...{ timestamp: new Date(ms).toISOString(), app: 'web', machine: '', region: 'iad' },
  ...{ host: 'iad1', level: 'error', source: 'proxy', message },
})
const call = (more: object) => ({
  method: 'logs' as const,
  app: 'web',
  tail: 100,
  follow: false,
  ...more,
})

test('an app’s log is its machines’ and the edge’s, by time', async () => {
  const logs = store('merge', ['a1', 'b2'])
  await writeFile(appLog('merge', 'a1'), line(10, 'a ten') + line(30, 'a thirty'))
  await writeFile(appLog('merge', 'b2'), line(20, 'b twenty'))
  logs.edge(edgeLine(25, 'edge'))
  logs.edge({ ...edgeLine(26, 'escape'), app: '../x' })
  const { signal } = new AbortController()
  const messages = async (more: object) =>
    (await Array.fromAsync(logs.read(call(more), signal))).map(({ message }) => message)
  assert.deepEqual(await messages({}), ['a ten', 'b twenty', 'edge', 'a thirty'])
  assert.deepEqual(await messages({ tail: 2 }), ['edge', 'a thirty'])
  assert.deepEqual(await messages({ tail: 0 }), [])
  assert.deepEqual(await messages({ machine: 'b2' }), ['b twenty'])
  assert.deepEqual(await messages({ app: 'other' }), [])
  logs.machine({ app: 'web', machine: 'a1', level: 'info', message: 'Machine started' })
  assert.equal((await messages({})).at(-1), 'Machine started')
})

test('following yields what comes, from machines that come later as well', async () => {
  const machines = ['a1']
  const logs = store('follow', machines)
  await writeFile(appLog('follow', 'a1'), line(1, 'first'))
  const stop = new AbortController()
  const seen: string[] = []
  const reading = (async () => {
    for await (const { message } of logs.read(call({ follow: true }), stop.signal)) {
      seen.push(message)
      if (message === 'first') logs.edge(edgeLine(2, 'edge'))
      if (message === 'edge') {
        mkdirSync(join(root, 'follow', 'machines', 'c3', 'log'), { recursive: true })
        await writeFile(appLog('follow', 'c3'), line(3, 'newcomer'))
        machines.push('c3')
      }
      if (message === 'newcomer') stop.abort()
    }
  })()
  await reading
  assert.deepEqual(seen, ['first', 'edge', 'newcomer'])
})

test('a machine’s folder goes when its followers have read all of it, and their log ends', async () => {
  const machines = ['a1']
  const logs = store('end', machines)
  const { signal } = new AbortController()
  const seen: string[] = []
  const reading = (async () => {
    for await (const { message } of logs.read(call({ machine: 'a1', follow: true }), signal))
      seen.push(message)
  })()
  await systemClock.sleep(20) // It rests between two looks now.
  const rest = 'x'.repeat(400)
  const last = Array.from({ length: 2_000 }, (_, i) => line(i, `line ${i} ${rest}`)).join('')
  assert.ok(last.length > 2 * READ_BYTES_MAX)
  await writeFile(appLog('end', 'a1'), last)
  logs.machine({ app: 'web', machine: 'a1', level: 'info', message: 'Machine destroyed' })
  await logs.forget('a1')
  rmSync(join(root, 'end', 'machines', 'a1'), { recursive: true })
  machines.pop()
  await reading
  assert.equal(seen.length, 2_001)
  assert.ok(seen.includes(`line 1999 ${rest}`) && seen.includes('Machine destroyed'))
})
