import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import { type Credentials, issueHostCertificate } from '../control/ca.ts'
import { parseControlConfig } from '../control/config.ts'
import type { Machine } from '../model/resources.ts'
import type { AgentCall, FeedLine, HostReport, MachineReport } from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { type ControlProcess, startControl } from './control-process.ts'
import { AnswerChecks } from './openapi/testing.ts'
import { buildApi } from './server.ts'

/** A whole control process on loopback, and agents that behave, for tests. */

const HOSTS = [
  ['iad1', 'iad', 1],
  ['iad2', 'iad', 2],
  ['lhr1', 'lhr', 3],
] as const

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any
}

export interface TestProcess {
  readonly control: ControlProcess
  readonly stateDir: string
  /** Fails when the answer is not as the OpenAPI document has it. */
  api(method: string, path: string, body?: unknown, headers?: object): Promise<Answer>
  /** The same process again, as after a crash: only what is on disk is left. */
  restart(): Promise<void>
  agent(host: string): Promise<FakeAgent>
  upload(app: string, content?: string): Promise<string>
  close(): Promise<void>
}

export const configOf = (stateDir: string) =>
  parseControlConfig(
    {
      stateDir,
      api: { host: '127.0.0.1', port: 0 },
      agents: { host: '127.0.0.1', port: 0, names: ['localhost'] },
      appsDomains: ['fairway.test'],
      regions: ['iad', 'lhr', 'nrt'].map((code) => ({
        code,
        name: code.toUpperCase(),
        latitude: 0,
        longitude: 0,
        geoRegion: 'europe',
        distancesMs: {},
      })),
      hosts: HOSTS.map(([id, region, index]) => ({
        id,
        region,
        index,
        underlayV4: `198.51.100.${index}`,
        underlayV6: `2001:db8:ffff::${index}`,
      })),
      pools: { v4: ['203.0.113.16/28'], sharedV4: ['203.0.113.1'], v6: ['2001:db8:1::/48'] },
      egressPools: { iad: { v4: ['198.51.100.128/28'], v6: ['2001:db8:e001::/48'] } },
    },
    'test',
  )

export async function testProcess(): Promise<TestProcess> {
  const stateDir = mkdtempSync(join(tmpdir(), 'fairway-control-'))
  const log = pino({ level: process.env.FAIRWAY_LOG_LEVEL ?? 'silent' })
  let control = await startControl(configOf(stateDir), log)
  const agents: FakeAgent[] = []
  const token = readFileSync(join(stateDir, 'token'), 'utf8').trim()
  const checks = new AnswerChecks(await documentOf(control.apiPort))
  const call = async (method: string, path: string, body: unknown, headers: object = {}) => {
    const raw = body instanceof Uint8Array
    const response = await fetch(`http://127.0.0.1:${control.apiPort}${path}`, {
      method,
      signal: AbortSignal.timeout(15_000),
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: raw ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const contentType = response.headers.get('content-type') ?? undefined
    checks.check({ method, path, status: response.status, contentType, text })
    return { status: response.status, headers: response.headers, text, json: parse(text) }
  }
  return {
    get control() {
      return control
    },
    stateDir,
    api: call,
    restart: async () => {
      await control.close()
      control = await startControl(configOf(stateDir), log)
    },
    agent: async (host) => {
      const tls = await issueHostCertificate(control.ca, host)
      const agent = new FakeAgent(host, control.agentsPort, tls)
      agents.push(agent)
      await agent.start()
      while (!control.context.fleet.isLive(host)) await pause(1)
      return agent
    },
    upload: async (app, content = 'an artifact') => {
      const digest = createHash('sha256').update(content).digest('hex')
      const path = `/v1/apps/${app}/artifacts?digest=${digest}`
      const type = { 'content-type': 'application/gzip' }
      const answer = await call('POST', path, Buffer.from(content), type)
      if (answer.status !== 201) throw new Error(answer.text)
      return digest
    },
    close: async () => {
      for (const agent of agents) agent.stop()
      await control.close()
      rmSync(stateDir, { recursive: true })
    },
  }
}

const documentOf = async (apiPort: number): Promise<object> =>
  (await (await fetch(`http://127.0.0.1:${apiPort}/openapi.json`)).json()) as object

export interface Route {
  readonly method: string
  /** As fastify has it: `/v1/apps/:app`. */
  readonly path: string
}

/** All routes of the API, read from the router's own drawing of its tree. */
export async function routesOf(context: ApiContext): Promise<Route[]> {
  const api = buildApi(context)
  await api.ready()
  const drawing = api.printRoutes({ commonPrefix: false })
  await api.close()
  const above: string[] = []
  return drawing.split('\n').flatMap((line) => {
    const [, tree = '', part = '', methods = ''] = /^([^/*]*)(\S+) \((.+)\)$/.exec(line) ?? []
    if (part === '') return []
    above.splice(tree.length / 4 - 1, Infinity, part)
    return methods.split(', ').map((method) => ({ method, path: above.join('') }))
  })
}

/** What a fake agent says that its key in the mesh is. */
export const meshKeyOf = (host: string): string => `${host.padEnd(43, 'A')}=`

/** Follows the feed and reports every machine as done, at once. */
export class FakeAgent {
  readonly machines = new Map<string, Machine>()
  readonly keys = new Set<string>()
  /** What the host answers to a call, line by line; then it ends, or waits when it follows. */
  onCall: (call: AgentCall) => readonly object[] = () => []
  /** Changes the report about a machine; null: says nothing. */
  onMachine: (machine: Machine) => Partial<MachineReport> | null = () => ({})
  edgeRevision: number | null = null
  /** Null: it does not say what its kernel has in force. */
  egressRevision: number | null = null
  #telling: Promise<unknown> = Promise.resolve()
  readonly #host: string
  readonly #options: RequestOptions
  #feed: IncomingMessage | undefined
  #beat: NodeJS.Timeout | undefined

  constructor(host: string, port: number, tls: Credentials) {
    this.#host = host
    const agent = new Agent({ keepAlive: true })
    this.#options = { host: '127.0.0.1', port, servername: 'localhost', ...tls, agent }
  }

  async start(from = 0): Promise<void> {
    this.#feed = await this.send('GET', `/agent/v1/watch?from=${from}`)
    const splitter = new LineSplitter(1 << 23)
    this.#feed.on('error', () => {})
    this.#feed.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) this.#line(JSON.parse(line) as FeedLine)
    })
    await this.report([])
    this.#beat = setInterval(() => void this.report([]).catch(() => {}), 1_000)
    this.#beat.unref()
  }

  stop(): void {
    clearInterval(this.#beat)
    this.#feed?.destroy()
    ;(this.#options.agent as Agent).destroy()
  }

  async report(machines: readonly MachineReport[], changes: Partial<HostReport> = {}) {
    const report: HostReport = {
      host: this.#host,
      meshPublicKey: meshKeyOf(this.#host),
      edgeRevision: this.edgeRevision,
      egressRevision: this.egressRevision,
      egressDrained: [],
      machines,
      ...changes,
    }
    return this.json('POST', '/agent/v1/report', report)
  }

  async json(method: string, path: string, body?: unknown) {
    const response = await this.send(method, path, body === undefined ? undefined : [body])
    let text = ''
    for await (const chunk of response) text += String(chunk)
    return { status: response.statusCode ?? 0, text, json: parse(text) }
  }

  /** Sends lines as a body; the answer's headers have come when it resolves. */
  send(method: string, path: string, lines?: readonly unknown[]): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const type = lines ? { 'content-type': 'application/json' } : {}
      const sent = request({ ...this.#options, method, path, headers: type }, resolve)
      sent.on('error', reject)
      sent.end(lines?.map(encodeLine).join(''))
    })
  }

  #line(line: FeedLine): void {
    if (line.t === 'call') this.#answer(line.id, line.call)
    if (line.t !== 'events') return
    if (this.egressRevision !== null) {
      this.egressRevision = line.revision
      // One after the other: an older word that arrives later would take the newer one back.
      this.#telling = this.#telling.then(() => this.report([])).catch(() => {})
    }
    for (const event of line.events) {
      if (event[0] === 'delete') {
        this.keys.delete(event[1])
        this.machines.delete(event[1].split('/')[2] ?? '')
        continue
      }
      this.keys.add(event[1])
      if (event[1].startsWith('machine/')) this.#machine(event[2] as Machine)
    }
  }

  #machine(machine: Machine): void {
    const before = this.machines.get(machine.id)
    this.machines.set(machine.id, machine)
    if (before?.generation === machine.generation || machine.generation === 0) return
    const changes = this.onMachine(machine)
    if (changes === null) return
    void this.report([{ ...doneReport(machine), ...changes }]).catch(() => {})
  }

  #answer(id: string, call: AgentCall): void {
    const path = `/agent/v1/calls/${id}`
    const headers = { 'content-type': 'application/x-ndjson' }
    const sent = request({ ...this.#options, method: 'POST', path, headers }, (answer) =>
      answer.resume(),
    )
    sent.on('error', () => {})
    for (const line of this.onCall(call)) sent.write(encodeLine(line))
    if (call.method !== 'logs' || !call.follow) sent.end()
  }
}

const doneReport = (machine: Machine): MachineReport => ({
  machine: machine.id,
  app: machine.app,
  instanceId: machine.instanceId,
  generation: machine.generation,
  state: machine.desired,
  checks: [],
  services: (machine.config.services ?? []).map(() => ({ healthy: true, load: 0 })),
  egressProblem: null,
  events:
    machine.desired === 'started'
      ? [
          {
            id: `${machine.instanceId}-${machine.generation}`,
            type: 'start',
            status: 'started',
            source: 'flyd',
            timestamp: Date.now(),
          },
        ]
      : [],
  gone: machine.desired === 'destroyed',
})

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms))
