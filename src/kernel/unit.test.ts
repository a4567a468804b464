import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pino } from 'pino'
import { Unit, type UnitSpec } from './unit.ts'

const dir = mkdtempSync(join(tmpdir(), 'fairway-unit-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const log = pino({ level: 'silent' })

const READY = `process.send({ t: 'ready' }); process.on('message', (m) => process.send({ t: 'echo', m })); setInterval(() => {}, 1000)`

function make(name: string, program: string, rest: Partial<UnitSpec> = {}): Unit {
  const file = join(dir, `${name}.mjs`)
  writeFileSync(file, program)
  return new Unit(
    { name, argv: [process.execPath, file], logFile: join(dir, `${name}.log`), ipc: true, ...rest },
    log,
  )
}

const exited = (pid: number) => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

async function until(done: () => boolean, what: string) {
  for (let i = 0; i < 500 && !done(); i++) await new Promise((r) => setTimeout(r, 10))
  assert.ok(done(), what)
}

test('a killed process is back at once, a stopped one stays down', async () => {
  const unit = make('restart', READY)
  try {
    unit.start()
    await unit.waitReady(5_000)
    const first = unit.status.pid!
    process.kill(first, 'SIGKILL')
    await until(() => unit.state === 'ready' && unit.status.pid !== first, 'restarted')
    assert.equal(unit.status.restarts, 1)
    await unit.stop()
    assert.equal(unit.state, 'stopped')
    assert.equal(unit.status.pid, null)
  } finally {
    await unit.close()
  }
})

test('kill with keepDown holds it until start', async () => {
  const unit = make('hold', READY)
  try {
    unit.start()
    await unit.waitReady(5_000)
    unit.kill({ keepDown: true })
    await until(() => unit.state === 'stopped', 'stopped')
    assert.ok(unit.held)
    unit.start()
    await unit.waitReady(5_000)
    assert.ok(!unit.held)
  } finally {
    await unit.close()
  }
})

test('replace: the old process ends only when the new one is ready', async () => {
  const unit = make('replace', READY)
  try {
    unit.start()
    await unit.waitReady(5_000)
    const old = unit.status.pid!
    const states: string[] = []
    unit.onState((state) => states.push(state))
    await unit.replace()
    assert.deepEqual(states, [], 'ready all the time')
    assert.notEqual(unit.status.pid, old)
    assert.equal(unit.state, 'ready')
    await until(() => exited(old), 'the old one ends')
  } finally {
    await unit.close()
  }
})

test('replace: one that does not come up leaves the first in place', async () => {
  const file = join(dir, 'picky.mjs')
  const unit = make('picky', READY)
  try {
    unit.start()
    await unit.waitReady(5_000)
    const old = unit.status.pid
    writeFileSync(file, 'process.exit(3)')
    await assert.rejects(unit.replace(), /picky was not replaced: it ended \(exit code 3\)/)
    assert.equal(unit.status.pid, old)
    assert.equal(unit.state, 'ready')
  } finally {
    await unit.close()
  }
})

test('a process that says nothing any more is killed and restarted', async () => {
  const unit = make('hang', `process.send({ t: 'ready' }); setInterval(() => {}, 1000)`, {
    aliveMs: 200,
  })
  try {
    unit.start()
    await unit.waitReady(5_000)
    const first = unit.status.pid
    await until(() => unit.status.restarts > 0 && unit.status.pid !== first, 'restarted')
  } finally {
    await unit.close()
  }
})

test('one that cannot start is retried with back-off, and its output is kept', async () => {
  const unit = make('broken', `console.error('no such luck'); process.exit(3)`)
  try {
    unit.start()
    await until(() => unit.status.restarts >= 3, 'retried')
    await unit.stop()
    assert.match(readFileSync(join(dir, 'broken.log'), 'utf8'), /no such luck/)
  } finally {
    await unit.close()
  }
})

test('messages go both ways, and a missing program is an error that does not throw', async () => {
  const unit = make('talk', READY)
  const gone = new Unit(
    { name: 'gone', argv: ['/no/such/program'], logFile: join(dir, 'gone.log') },
    log,
  )
  try {
    const heard = new Promise((resolve) => {
      unit.onMessage = resolve
    })
    unit.start()
    await unit.waitReady(5_000)
    unit.send({ hello: 1 })
    assert.deepEqual(await heard, { t: 'echo', m: { hello: 1 } })
    gone.start()
    await until(() => gone.status.restarts > 0, 'noticed')
  } finally {
    await unit.close()
    await gone.close()
  }
})
