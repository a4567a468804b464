import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Counters } from '../counters.ts'
import { APP_LOG_LINES_PER_SECOND_MAX, APP_LOG_REPEAT_MS } from '../limits.ts'
import { AppLog, type AppLogLine } from './app-log.ts'

const line = (app: string, message = 'refused'): AppLogLine => ({
  ...{ app, machine: 'm1', level: 'error', code: 'PC01', message },
})

test('one app’s trouble is bounded, and what was left out is said', () => {
  let now = 0
  const lines: AppLogLine[] = []
  const counters = new Counters()
  const log = new AppLog(
    (l) => lines.push(l),
    () => now,
    counters,
  )
  for (let i = 0; i < 100; i++) log.write(line('a', `reason ${i}`))
  log.write(line('b'))
  assert.equal(lines.length, APP_LOG_LINES_PER_SECOND_MAX + 1)
  assert.equal(counters.limits.get('app_log_lines'), 100 - APP_LOG_LINES_PER_SECOND_MAX)
  now = 1_000
  log.write(line('a'))
  assert.equal(lines.at(-2)?.message, `${100 - APP_LOG_LINES_PER_SECOND_MAX} more lines like these`)
  assert.deepEqual(lines.at(-1), line('a'))
})

test('the same line is said the 1st, 10th, 100th time, and anew after a while', () => {
  let now = 0
  const lines: AppLogLine[] = []
  const log = new AppLog(
    (l) => lines.push(l),
    () => now,
    new Counters(),
  )
  for (let i = 0; i < 999; i++, now += 50) log.write(line('a'))
  log.write({ ...line('a'), machine: 'm2' })
  now = APP_LOG_REPEAT_MS
  log.write(line('a'))
  assert.deepEqual(
    lines.map(({ machine, message }) => `${machine} ${message}`),
    [
      ...['m1 refused', 'm1 refused (10 times in 1 s)', 'm1 refused (100 times in 5 s)'],
      ...['m2 refused', 'm1 refused'],
    ],
  )
})

test('what is said once is said once for each app', () => {
  const lines: AppLogLine[] = []
  const log = new AppLog(
    (l) => lines.push(l),
    () => 0,
    new Counters(),
  )
  for (const app of ['a', 'a', 'b', 'a']) log.once(line(app))
  assert.deepEqual(
    lines.map(({ app }) => app),
    ['a', 'b'],
  )
})
