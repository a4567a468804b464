/**
 * What counting, writing down and tracing cost: nanoseconds for each request, of this code alone.
 * `node bench/observe.ts`; the request path as a whole is bench/edge.ts's.
 */
import { Counters } from '../src/proxy/counters.ts'
import { policyOf } from '../src/proxy/http1/policy.ts'
import { Observer } from '../src/proxy/observe/observer.ts'
import { Outlet } from '../src/proxy/observe/outlet.ts'
import type { RecordedRequest } from '../src/proxy/observe/record.ts'
import { AppMetrics } from '../src/proxy/observe/series.ts'
import type { PortRoute } from '../src/view/edge-view.ts'

const ROUNDS = 3_000_000
const counters = new Counters()
const metrics = new AppMetrics(counters)
const edge = metrics.edge('hello')
const instance = metrics.instance('hello', 'm1')
const clock = () => performance.now()

function measure(what: string, rounds: number, step: (i: number) => void): void {
  for (let i = 0; i < rounds / 10; i++) step(i)
  const began = process.cpuUsage()
  for (let i = 0; i < rounds; i++) step(i)
  // Processor time: others that run on the machine do not count.
  const { user, system } = process.cpuUsage(began)
  const ns = ((user + system) * 1e3) / rounds
  process.stdout.write(`${what.padEnd(46)} ${ns.toFixed(0).padStart(6)} ns\n`)
}

const policy = policyOf({ handlers: ['http'], httpOptions: null } as unknown as PortRoute)

function observer(accessLog: number | null, traces: number | null): Observer {
  const outlet: Outlet = new Outlet({
    counters,
    emit: ({ bytes }) => outlet.acknowledge(bytes),
    later: (_ms, callback) => callback(),
  })
  return new Observer({
    accessLog: accessLog === null ? null : { sampleRate: accessLog, query: false },
    traces: traces === null ? null : { sampleRate: traces },
    ...{ host: 'iad1', region: 'iad', outlet, counters, random: Math.random },
    // A new second each time, so that no limit stands in the way.
    now: () => (second += 1_000),
    onAppLog: () => {},
  })
}
let second = 0

const request = (beganAt: number): RecordedRequest => ({
  ...{ requestId: '01M7Y30TDN5GVAP0GN4KB21W8Q-iad', app: 'hello', method: 'GET' },
  ...{ target: '/a/path?with=query', host: 'hello.fairway.test', httpMinor: 1 },
  ...{
    clientAddress: '198.51.100.7',
    localPort: 80,
    https: false,
    time: 1_764_455_000_123,
    beganAt,
    trace: null,
  },
})

function through(observing: Observer, began: number, ended: number): void {
  const wanted = observing.sample(policy, '')
  if (wanted === 0) return
  const record = observing.record(request(began), wanted)
  record.status = 200
  record.headAt = ended
  observing.finish(record, policy, { now: ended, received: 300, sent: 900, isComplete: true })
}

measure('two readings of the clock', ROUNDS, () => {
  clock()
  clock()
})
measure('metrics of app and machine', ROUNDS, (i) => {
  const ms = (i & 1023) / 100
  edge.responded(200, ms)
  instance.responded(200, ms)
  edge.moved(300, 900)
})
const off = observer(null, null)
measure('access log and traces off', ROUNDS, () => through(off, 0, 1))
for (const [what, observing] of [
  ['access log, 1 in 100', observer(0.01, null)],
  ['access log, all', observer(1, null)],
  ['traces, 1 in 100', observer(null, 0.01)],
  ['traces, all', observer(null, 1)],
] as const)
  measure(what, ROUNDS / 10, () => through(observing, 0, 1))

const full = new AppMetrics(counters)
for (let app = 0; app < 1_000; app++)
  for (const status of [200, 304, 404, 503]) full.edge(`app-${app}`).responded(status, 1)
measure('a snapshot of 1,000 apps with 4 statuses each', 100, () => {
  const { labels, values } = full.snapshot()
  structuredClone({ labels, values }, { transfer: [values.buffer] })
})
