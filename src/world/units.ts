import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { routerConfig } from '../anycast/bird.ts'
import type { Logger } from '../base/log.ts'
import {
  type Ca,
  issueFollowerCertificate,
  issueHostCertificate,
  issueServerCertificate,
  loadOrCreateCa,
} from '../control/ca.ts'
import { systemExec } from '../kernel/exec.ts'
import { Unit, type UnitSpec, type UnitStatus } from '../kernel/unit.ts'
import { PLATFORM_NAMES, platformAddresses } from '../model/platform.ts'
import { PORTS } from '../model/wire.ts'
import { CgroupRoot } from './cgroups.ts'
import type { WorldDescription } from './description.ts'
import { atPlace } from './place.ts'
import { type HostPlan, UNDERLAY, type WorldPlan } from './plan.ts'
import { distancesOf } from './regions.ts'
import type { WorldState } from './state.ts'

export interface PlaceStatus {
  readonly place: string
  readonly addresses: readonly string[]
  readonly units: readonly UnitStatus[]
}

const READY_TIMEOUT_MS = 300_000
const READY_POLL_MS = 100
const HOLDER_REPLY_TIMEOUT_MS = 60_000

/** Everything that runs in a world: who starts what, where, with which configuration. */
export class WorldUnits {
  readonly #world: WorldDescription
  readonly #plan: WorldPlan
  readonly #state: WorldState
  readonly #log: Logger
  /** By place, in the order of starting. */
  readonly #units = new Map<string, Unit[]>()
  readonly #replies = new Map<number, (body: Record<string, unknown>) => void>()
  #requests = 0

  constructor(options: {
    world: WorldDescription
    plan: WorldPlan
    state: WorldState
    log: Logger
  }) {
    this.#world = options.world
    this.#plan = options.plan
    this.#state = options.state
    this.#log = options.log
  }

  async start(progress: (step: string) => void): Promise<void> {
    const ca = await loadOrCreateCa(this.#state.controlDir)
    for (const router of this.#plan.routers) this.#startRouter(router)
    const control = this.#startControl()
    await control.waitReady(READY_TIMEOUT_MS)
    progress('control plane: answers')
    const holders = await Promise.all(this.#plan.hosts.map((host) => this.#startHost(ca, host)))
    await this.#startResolver(ca)
    this.#startRelays()
    for (const holder of holders) await holder.waitReady(READY_TIMEOUT_MS)
    await this.#waitHosts(holders)
    progress(`hosts: ${this.#plan.hosts.map((h) => h.id).join(', ')} announce their addresses`)
    await Promise.all(
      [...this.#units.values()].flat().map((unit) => unit.waitReady(READY_TIMEOUT_MS)),
    )
  }

  async status(): Promise<{ places: PlaceStatus[] }> {
    const places = this.#plan.places.map(async ({ name }) => {
      const own = this.#units.get(name) ?? []
      const holder = own.find((u) => u.spec.name === 'holder')
      const inner = holder
        ? await this.#ask(holder, { action: 'status' }).catch(() => ({ units: [] }))
        : { units: [] }
      return {
        place: name,
        addresses: this.#addresses(name),
        units: [...own.map((u) => u.status), ...(inner.units as UnitStatus[])],
      }
    })
    return { places: await Promise.all(places) }
  }

  /** Starts, stops, kills or replaces a unit at a place; without a unit, all of a place's. */
  async act(request: {
    place?: string
    unit?: string
    action?: string
    keepDown?: boolean
  }): Promise<{ ok: true }> {
    const { place = '', unit: name = '', action = '', keepDown = false } = request
    const own = this.#units.get(place)
    if (!own)
      throw new Error(
        `no place ${place}; there are ${this.#plan.places.map((p) => p.name).join(', ')}`,
      )
    const unit = own.find((u) => u.spec.name === name)
    const holder = own.find((u) => u.spec.name === 'holder')
    if (!unit && holder) {
      const body = await this.#ask(holder, { action, unit: name, keepDown })
      if (body.error) throw new Error(String(body.error))
      return { ok: true }
    }
    if (!unit)
      throw new Error(
        `nothing called ${name} runs at ${place}; there are ${own.map((u) => u.spec.name).join(', ')}`,
      )
    if (action === 'start') unit.start()
    else if (action === 'stop') await unit.stop({ hold: true })
    else if (action === 'kill') unit.kill({ keepDown })
    else if (action === 'restart') await unit.stop().then(() => unit.start())
    else throw new Error(`no action ${action}`)
    return { ok: true }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#units.values()].flat().map((unit) => unit.close()))
  }

  #startRouter(router: WorldPlan['routers'][number]): void {
    const dir = join('/run/fairway', router.place)
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const conf = join(dir, 'bird.conf')
    const accept = [...this.#world.announce, ...this.#egressPrefixes()]
    writeFileSync(conf, routerConfig({ ...router, accept }))
    this.#unit(router.place, 'bird', {
      argv: ['bird', '-f', '-c', conf, '-s', join(dir, 'bird.ctl')],
    })
  }

  #startControl(): Unit {
    const { control, hosts } = this.#plan
    const file = this.#file('control.json', {
      stateDir: this.#state.controlDir,
      api: { host: '::', port: PORTS.api },
      agents: { host: '::', port: PORTS.agents, names: ['control.fairway.internal', control.v4] },
      appsDomains: this.#world.appsDomains,
      regions: this.#world.regions.map(({ hosts: _, ...region }) => ({
        ...region,
        distancesMs: distancesOf(this.#world, region.code),
      })),
      hosts: hosts.map(hostResource),
      pools: {
        v4: this.#world.pools.v4,
        sharedV4: this.#world.pools.sharedV4,
        v6: this.#world.pools.v6,
      },
      egressPools: this.#world.egressPools,
      quarantineMs: this.#world.quarantineMs,
      prices: this.#world.prices,
      attachWaitMs: 2_000,
    })
    return this.#unit(control.place, 'control', {
      argv: nodeArgv('../api/main.ts', file),
      ipc: true,
    })
  }

  async #startHost(ca: Ca, host: HostPlan): Promise<Unit> {
    const dir = this.#state.hostDir(host.id)
    const tls = writeTls(join(dir, 'tls'), await issueHostCertificate(ca, host.id))
    const file = this.#file(`host-${host.id}.json`, {
      host: hostResource(host),
      stateDir: dir,
      runDir: join('/run/fairway', host.place),
      logDir: join(this.#state.logDir, host.place),
      controlUrls: [this.#agentsUrl()],
      tls,
      appsDomains: this.#world.appsDomains,
      announce: this.#world.announce,
      egress: {
        ...{ announce: host.egress, machinesV6: host.machinesV6 },
        prefixes: this.#egressPrefixes(),
      },
      protectedPrefixes: this.#protectedPrefixes(),
      resolvers: [this.#plan.resolver.v4],
      nameServerAddresses: Object.values(platformAddresses(this.#world.pools)).filter(
        (address) => address !== null,
      ),
      outbound: await this.#outbound(ca, dir),
      observe: this.#world.observe,
      edgeWorkers: 1,
      bird: {
        routerId: host.v4,
        as: host.as,
        device: 'wan',
        localV4: host.v4,
        localV6: host.v6,
        routerV4: host.router.v4,
        routerV6: host.router.v6,
        routerAs: host.router.as,
      },
      cgroupRoot: CgroupRoot.forHost(this.#state.dir, host.id),
    })
    return this.#unit(host.place, 'holder', {
      argv: nodeArgv('../agent/holder.ts', file),
      ipc: true,
      graceMs: 45_000,
    })
  }

  async #outbound(ca: Ca, dir: string): Promise<object | null> {
    const { outbound, appsDomains } = this.#world
    if (!outbound) return null
    const names = appsDomains.map((domain) => `${PLATFORM_NAMES.outbound}.${domain}`)
    const { cert, key } = await issueServerCertificate(ca, [...names, outbound.v4, outbound.v6])
    const tls = writeTls(join(dir, 'outbound-tls'), { ca: ca.certificate, cert, key })
    return {
      addresses: [outbound.v4, outbound.v6],
      tls: { cert: tls.cert, key: tls.key },
      workers: 2,
    }
  }

  #outboundNames(): Record<string, { a: string[]; aaaa: string[] }> {
    const { outbound, appsDomains } = this.#world
    if (!outbound) return {}
    const name = `${PLATFORM_NAMES.outbound}.${appsDomains[0]}`
    return { [name]: { a: [outbound.v4], aaaa: [outbound.v6] } }
  }

  async #startResolver(ca: Ca): Promise<void> {
    const dir = join(this.#state.dir, 'resolver')
    const tls = writeTls(join(dir, 'tls'), await issueFollowerCertificate(ca, 'resolver'))
    const { resolver, control, internet } = this.#plan
    const { v4, v6 } = platformAddresses(this.#world.pools)
    const platform = { a: v4 === null ? [] : [v4], aaaa: v6 === null ? [] : [v6] }
    const file = this.#file('resolver.json', {
      controlUrls: [this.#agentsUrl()],
      tls,
      listen: [resolver.v4, resolver.v6],
      appsDomain: this.#world.appsDomains[0],
      statics: {
        [`api.${this.#world.appsDomains[0]}`]: { a: [control.v4], aaaa: [control.v6] },
        [`${PLATFORM_NAMES.echo}.${this.#world.appsDomains[0]}`]: platform,
        [`${PLATFORM_NAMES.nameServer}.${this.#world.appsDomains[0]}`]: platform,
        ...this.#outboundNames(),
        'internet.test': { a: [internet.v4], aaaa: [internet.v6] },
      },
    })
    this.#unit(resolver.place, 'resolver', { argv: nodeArgv('resolver-main.ts', file), ipc: true })
  }

  /** From unix sockets, which the keeper outside reaches, to the apps and the API. */
  #startRelays(): void {
    const client = this.#plan.clients[0]!
    const shared = this.#world.pools.sharedV4[0]!.split('/')[0]!
    this.#unit(client.place, 'relay', {
      argv: nodeArgv('relay-main.ts', this.#state.appsSocket, shared, '80'),
      ipc: true,
    })
    this.#unit(this.#plan.control.place, 'relay', {
      argv: nodeArgv(
        'relay-main.ts',
        this.#state.apiSocket,
        this.#plan.control.v4,
        String(PORTS.api),
      ),
      ipc: true,
    })
  }

  #egressPrefixes(): string[] {
    return Object.values(this.#world.egressPools).flatMap(({ v4, v6 }) => [...v4, ...v6])
  }

  #agentsUrl(): string {
    return `https://${this.#plan.control.v4}:${PORTS.agents}`
  }

  /** The underlay of hosts and routers, and the control plane: nothing of a machine's business. */
  #protectedPrefixes(): string[] {
    const { control } = this.#plan
    return [...UNDERLAY, `${control.v4}/32`, `${control.v6}/128`]
  }

  #unit(place: string, name: string, rest: Omit<UnitSpec, 'name' | 'logFile'>): Unit {
    const spec = { name, logFile: join(this.#state.logDir, place, `${name}.log`), ...rest }
    const unit = new Unit({ ...spec, argv: atPlace(place, spec.argv) }, this.#log.child({ place }))
    unit.onMessage = (message) => {
      if (message.t === 'reply') this.#replies.get(message.id as number)?.(message)
    }
    this.#units.set(place, [...(this.#units.get(place) ?? []), unit])
    unit.start()
    return unit
  }

  #ask(holder: Unit, request: object): Promise<Record<string, unknown>> {
    const id = ++this.#requests
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#replies.delete(id)
        reject(new Error('the holder did not answer'))
      }, HOLDER_REPLY_TIMEOUT_MS)
      this.#replies.set(id, (body) => {
        clearTimeout(timer)
        this.#replies.delete(id)
        resolve(body)
      })
      holder.send({ id, ...request })
    })
  }

  /** Every router knows a way to every announced prefix, and every unit of every host is ready. */
  async #waitHosts(holders: readonly Unit[]): Promise<void> {
    const ofHosts = this.#plan.hosts.flatMap((host) => [...host.egress, host.machinesV6])
    const announced = new Set([...this.#world.announce, ...ofHosts])
    const missing = async () => {
      for (const { place } of this.#plan.routers) {
        const known = await prefixesVia(place)
        for (const prefix of announced)
          if (!known.has(prefix)) return `${place} has no route to ${prefix}`
      }
      for (const holder of holders) {
        const { units } = await this.#ask(holder, { action: 'status' })
        for (const { name, state } of units as UnitStatus[])
          if (state !== 'ready' && state !== 'stopped') return `${name} is ${state}`
      }
      return null
    }
    const deadline = Date.now() + READY_TIMEOUT_MS
    for (;;) {
      const why = await missing()
      if (why === null) return
      if (Date.now() > deadline)
        throw new Error(`${why} after ${READY_TIMEOUT_MS} ms; logs: ${this.#state.logDir}`)
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS))
    }
  }

  #addresses(place: string): string[] {
    return this.#plan.wires
      .flatMap((w) => [w.a, w.b])
      .filter((end) => end.place === place)
      .flatMap((end) => [end.v4, end.v6])
  }

  #file(name: string, content: object): string {
    const dir = join('/run/fairway', 'config')
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const path = join(dir, name)
    writeFileSync(path, JSON.stringify(content), { mode: 0o600 })
    chmodSync(path, 0o600)
    return path
  }
}

const hostResource = (host: HostPlan) => ({
  id: host.id,
  region: host.region,
  index: host.index,
  underlayV4: host.v4,
  underlayV6: host.v6,
})

const nodeArgv = (main: string, ...args: string[]) => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(import.meta.dirname, main),
  ...args,
]

function writeTls(
  dir: string,
  pem: { cert: string; key: string; ca: string },
): { ca: string; cert: string; key: string } {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const write = (name: string, text: string) => {
    writeFileSync(join(dir, name), text, { mode: 0o600 })
    return join(dir, name)
  }
  return {
    ca: write('ca.pem', pem.ca),
    cert: write('cert.pem', pem.cert),
    key: write('key.pem', pem.key),
  }
}

/** What a router has a gateway for. */
async function prefixesVia(place: string): Promise<Set<string>> {
  const known = new Set<string>()
  for (const family of ['-4', '-6']) {
    const out = await systemExec.run(['ip', '-n', place, family, 'route', 'show'])
    // A route with several gateways goes on in indented lines.
    for (const line of out.split(/\n(?=\S)/))
      if (/\bvia\b/.test(line)) known.add(withLength(line.split(' ')[0]!))
  }
  return known
}

/** A route to one address is shown without its length. */
const withLength = (prefix: string): string =>
  prefix.includes('/') ? prefix : `${prefix}/${prefix.includes(':') ? 128 : 32}`
