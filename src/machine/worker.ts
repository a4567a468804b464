import { backoffMs } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Machine, MachineEvent } from '../model/resources.ts'
import type { LogLine } from '../model/wire.ts'
import { type Adoption, planAdoption } from './adoption.ts'
import { isSameSource, MachineEgressKeeper } from './egress.ts'
import { type Chance, planExit, planFailedStart } from './ends.ts'
import { machineEvent } from './events.ts'
import { exitLines } from './lines.ts'
import { nextStep, type Step } from './plan.ts'
import { type MachineRecord, withEvents } from './record.ts'
import type { Sandbox, SandboxExit } from './runtime.ts'
import { Standby } from './standby.ts'
import { newRun, restingTarget, STOPPING_STATE, stopEvents } from './steps.ts'
import { Wake } from './wake.ts'
import type { WorkerHost } from './worker-host.ts'

/** A killed process that is still there after this is the kernel's; the worker tries again. */
const KILL_TIMEOUT_MS = 10_000
const STEP_BACKOFF = { firstMs: 500, maxMs: 10_000 }

/** What a new agent finds of a machine, beside its record. */
export interface FoundMachine {
  readonly sandbox: Sandbox | undefined
  /** It has a network. */
  readonly attached: boolean
}

interface FailedStart {
  readonly machine: Machine
  readonly error: unknown
}

/**
 * Brings one machine to what is wanted of it, one step at a time, and keeps it there. Nothing else
 * touches the machine's sandbox, network or record.
 */
export class MachineWorker {
  readonly id: string
  readonly #host: WorkerHost
  readonly #wake: Wake
  readonly #standby: Standby
  readonly #egress: MachineEgressKeeper
  #record: MachineRecord
  /** Undefined until the whole desired state has been told once: then the machine is left alone. */
  #target: Machine | null | undefined
  #exit: SandboxExit | null = null
  /** Whether the machine has a network that somebody must take away. */
  #attached = false
  #found: FoundMachine | undefined
  /** A sandbox may be there that the record does not speak of any more. */
  #leftover = false
  /** A start that came to nothing, until the record says so. */
  #failedStart: FailedStart | undefined
  #startFailures = 0
  #stepFailures = 0
  #closed = false
  /** Ids of events that were reported. */
  #reported: ReadonlySet<string> = new Set()
  #done: Promise<void> = Promise.resolve()

  constructor(host: WorkerHost, record: MachineRecord) {
    this.id = record.machine.id
    this.#host = host
    this.#record = record
    this.#wake = new Wake(host.clock)
    this.#egress = new MachineEgressKeeper((machine) => host.attach(machine), host)
    this.#standby = new Standby(host, this.id, () => this.#wake.now())
  }

  get record(): MachineRecord {
    return this.#record
  }

  get app(): string {
    return (this.#target ?? this.#record.machine).app
  }

  /** The newest desired state; null when the control plane does not know the machine. */
  update(target: Machine | null): void {
    if (target && this.#target && target.generation < this.#target.generation) return
    if (target && target.generation !== this.#target?.generation) this.#startFailures = 0
    this.#target = target
    this.#wake.now()
  }

  exited(exit: SandboxExit): boolean {
    if (!this.#record.run) this.#standby.end()
    else if (!this.#exit) {
      this.#exit = exit
      this.#wake.now()
    }
    return true
  }

  run(): void {
    this.#done = this.#loop()
  }

  /**
   * Takes over what is there of the machine, then runs. An adoption that fails is tried again: one
   * machine in trouble does not keep a host's agent from the others.
   */
  async runFrom(found: FoundMachine): Promise<void> {
    try {
      await this.#adopt(found)
    } catch (error) {
      this.#host.log.error({ machine: this.id, error: messageOf(error) }, 'adoption failed')
      this.#found = found
    }
    this.run()
  }

  /** Lets the step in progress end (a stop is cut short; the next agent goes on with it). */
  async close(): Promise<void> {
    this.#closed = true
    this.#wake.now()
    await this.#done
  }

  /** Takes over what runs, or notes what ended, while no agent was here. */
  async #adopt({ sandbox, attached }: FoundMachine): Promise<void> {
    const { runtime, clock } = this.#host
    const adoption = planAdoption(this.#record, sandbox, clock.now())
    this.#attached = attached
    switch (adoption.found) {
      case 'running':
        await this.#adoptRunning(adoption)
        break
      case 'ended':
        if (adoption.remove && sandbox) await runtime.delete(this.id)
        this.#exit = adoption.exit
        break
      case 'gone':
        if (adoption.warning) this.#line('warn', adoption.warning)
        await this.#save(adoption.change, ...(adoption.event ? [adoption.event] : []))
        this.#leftover = sandbox !== undefined
        break
      case 'down':
        if (sandbox) await runtime.delete(this.id)
        if (!this.#record.retry) await this.#detach()
        if (adoption.standsBy) this.#standby.want(this.#record.machine)
    }
    this.report()
  }

  async #adoptRunning({ change, event }: Extract<Adoption, { found: 'running' }>): Promise<void> {
    if (change) await this.#save(change, ...(event ? [event] : []))
    // The host's firewall may have been made anew meanwhile.
    await this.#applyEgress(this.#record.machine)
    this.#host.started(this.#record.machine)
  }

  report(gone = this.#record.state === 'destroyed'): void {
    const { machine, generation, state, events } = this.#record
    const { statuses, services } = this.#host.checks(this.id)
    this.#host.report({
      machine: this.id,
      app: machine.app,
      instanceId: machine.instanceId,
      generation,
      state,
      checks: statuses,
      services,
      egressProblem: this.#egress.problem,
      events: events.filter(({ id }) => !this.#reported.has(id)),
      gone,
    })
    this.#reported = new Set(events.map(({ id }) => id))
  }

  async #loop(): Promise<void> {
    while (!this.#closed) {
      try {
        if (!(await this.#turn())) return
        this.#stepFailures = 0
      } catch (error) {
        this.#host.log.error({ machine: this.id, error: messageOf(error) }, 'machine step failed')
        const { random } = this.#host
        await this.#wake.sleep(backoffMs(this.#stepFailures++, random, STEP_BACKOFF))
      }
    }
  }

  /** One step. False when the machine is forgotten. */
  async #turn(): Promise<boolean> {
    if (this.#found) {
      await this.#adopt(this.#found)
      this.#found = undefined
    }
    if (this.#failedStart) {
      await this.#noteFailedStart(this.#failedStart)
      return true
    }
    if (this.#leftover) {
      await this.#takeAway()
      if (!this.#record.run && !this.#record.retry) await this.#release()
      return true
    }
    if (this.#exit) {
      if (this.#record.run) await this.#handleExit(this.#exit)
      // Of a sandbox that was taken away before its program ran.
      else this.#exit = null
      return true
    }
    if (this.#isRunning && this.#egressWaitMs() <= 0) {
      await this.#moveEgress()
      return true
    }
    const step = this.#next()
    if (step.do === 'forget') {
      await this.#host.forget(this.id)
      return false
    }
    await this.#perform(step)
    return true
  }

  #next(): Step {
    const nowMs = this.#host.clock.now()
    if (this.#target !== undefined) return nextStep(this.#record, this.#target, nowMs)
    return nextStep(this.#record, restingTarget(this.#record), nowMs)
  }

  get #chance(): Chance {
    return { nowMs: this.#host.clock.now(), random: this.#host.random }
  }

  get #isRunning(): boolean {
    return (this.#record.run?.startedAtMs ?? null) !== null
  }

  /** The machine as it runs or is started next, with the newest word about its source. */
  #withEgress(machine: Machine): Machine {
    return this.#target ? { ...machine, egress: this.#target.egress } : machine
  }

  /** The machine of the record, with the newest word about its source. */
  get #newest(): Machine {
    return this.#withEgress(this.#record.machine)
  }

  #egressWaitMs(): number {
    const retryAtMs = this.#egress.retryAtMs(this.#newest)
    return retryAtMs === undefined ? Infinity : retryAtMs - this.#host.clock.now()
  }

  async #moveEgress(): Promise<void> {
    const machine = this.#newest
    await this.#save({ machine })
    await this.#applyEgress(machine)
    this.report()
  }

  async #applyEgress(machine: Machine): Promise<void> {
    const inForce = await this.#egress.apply(machine)
    const { problem } = this.#egress
    if (!inForce) this.#host.log.error({ machine: this.id, problem }, 'egress not in force')
  }

  async #perform(step: Exclude<Step, { do: 'forget' }>): Promise<void> {
    switch (step.do) {
      case 'idle':
        return this.#idle()
      case 'wait':
        return this.#wake.sleep(step.untilMs - this.#host.clock.now())
      case 'stop':
        return this.#stop(step)
      case 'start':
        return this.#start()
      case 'signal':
        await this.#host.runtime.kill(this.id, step.signal)
        return this.#rest({ state: 'started' })
      case 'destroy':
        return this.#destroy()
      case 'rest':
        return this.#rest(step)
    }
  }

  async #idle(): Promise<void> {
    if (this.#standby.state === 'over' || this.#isLeftAttached) {
      await this.#standby.drop()
      return this.#detach()
    }
    const isDue = this.#standby.state === 'wanted' && this.#target !== undefined && !this.#closed
    if (isDue) {
      this.#attached = true
      if (await this.#standby.make(this.#record, (change) => this.#save(change))) return
    }
    if (this.#standby.state !== 'none' && !isSameSource(this.#newest, this.#record.machine))
      return this.#standByAnew(this.#newest)
    const egressMs = this.#isRunning ? this.#egressWaitMs() : Infinity
    await (egressMs === Infinity ? this.#wake.wait() : this.#wake.sleep(egressMs))
  }

  /** Its source is another by now: what it had, others may have next. */
  async #standByAnew(machine: Machine): Promise<void> {
    await this.#standby.drop()
    await this.#detach()
    await this.#save({ machine })
    this.#standby.want(machine)
  }

  /** A network that could not be taken away when the machine came to rest. */
  get #isLeftAttached(): boolean {
    return this.#attached && !this.#record.run && this.#standby.state === 'none'
  }

  /** A record that cannot be written changes nothing: the step is done again. */
  async #save(change: Partial<MachineRecord>, ...events: MachineEvent[]): Promise<void> {
    const record = withEvents({ ...this.#record, ...change }, events)
    await this.#host.save(record)
    this.#record = record
  }

  async #rest({ state, retry = null }: Omit<Extract<Step, { do: 'rest' }>, 'do'>): Promise<void> {
    const machine = this.#target!
    const fresh = this.#newInstance(machine)
    const { generation } = machine
    await this.#save({ machine, generation, state, stoppedFor: null, retry }, ...fresh)
    this.report()
    if (state !== 'started' && !retry) await this.#release()
  }

  /** What is down and does not stand by keeps nothing of the host. */
  async #release(): Promise<void> {
    const { state, machine } = this.#record
    if (state === 'stopped' && this.#standby.want(machine)) return
    await this.#standby.drop()
    await this.#detach()
  }

  async #detach(): Promise<void> {
    if (!this.#attached) return
    await this.#host.detach(this.id)
    this.#attached = false
  }

  /** The `launch` event of an instance that was not seen before. */
  #newInstance(target: Machine): MachineEvent[] {
    const { machine, generation, events } = this.#record
    const seen = generation >= 0 || events.length > 0
    if (seen && machine.instanceId === target.instanceId) return []
    return [machineEvent(this.#host.clock.now(), 'launch', 'created', 'user')]
  }

  async #start(): Promise<void> {
    const { clock } = this.#host
    const pending = this.#target && this.#target.generation > this.#record.generation
    const machine = this.#withEgress(pending ? this.#target! : this.#record.machine)
    const restarts = pending ? 0 : this.#record.restarts
    const events = this.#newInstance(machine)
    const again = !pending || this.#record.stoppedFor === machine.generation
    const state = again ? 'restarting' : 'starting'
    const stoodBy = this.#standby.take(machine)
    const run = stoodBy ? newRun(machine) : null
    this.#leftover = stoodBy // Until the record speaks of it.
    await this.#save({ machine, state, restarts, run }, ...events)
    this.#leftover = false
    // A start that takes no time needs no news before its end.
    if (!stoodBy) this.report()
    try {
      const beganMs = clock.now()
      const started =
        (stoodBy && (await this.#startStandby(machine))) ||
        (await this.#host.startSlot(() => this.#launch(machine)))
      const nowMs = clock.now()
      this.#startFailures = 0
      this.#egress.started(started)
      await this.#save(
        {
          machine: started,
          run: { ...this.#record.run!, startedAtMs: nowMs },
          state: 'started',
          generation: machine.generation,
          stoppedFor: null,
          retry: null,
        },
        machineEvent(nowMs, 'start', 'started', 'flyd'),
      )
      this.#line('info', `Machine started in ${nowMs - beganMs}ms`)
      this.#host.started(started)
      this.report()
    } catch (error) {
      this.#failedStart = { machine, error }
      await this.#noteFailedStart(this.#failedStart)
    }
  }

  /** Undefined when it cannot be used; nothing is left of it then. */
  async #startStandby(machine: Machine): Promise<Machine | undefined> {
    const { runtime, log } = this.#host
    try {
      await this.#host.attach(machine, { fresh: true })
      const started = await this.#attachNewest(machine)
      await runtime.start(this.id)
      return started
    } catch (error) {
      log.warn({ machine: this.id, error: messageOf(error) }, 'what stood by does not start')
      await this.#save({ run: null })
      await this.#takeAway()
      this.report()
      return undefined
    }
  }

  /** Gives the machine as it began: its source may have changed while it waited and was made. */
  async #launch(wanted: Machine): Promise<Machine> {
    const { runtime, log } = this.#host
    const machine = this.#withEgress(wanted)
    const beganMs = performance.now()
    await this.#standby.drop()
    this.#attached = true
    const { record, inForce } = await this.#host.prepare(machine, this.#record)
    const preparedMs = performance.now()
    await this.#save({ bundle: record.bundle, run: newRun(machine) })
    await runtime.create({ id: this.id, folder: this.#host.folder(this.id) })
    const createdMs = performance.now()
    await inForce
    const started = await this.#attachNewest(machine)
    const inForceMs = performance.now()
    await runtime.start(this.id)
    const times = {
      prepareMs: Math.round(preparedMs - beganMs),
      createMs: Math.round(createdMs - preparedMs),
      networkMs: Math.round(inForceMs - createdMs),
      startMs: Math.round(performance.now() - inForceMs),
    }
    log.debug({ machine: this.id, ...times }, 'machine launched')
    return started
  }

  /** Of what is attached and does not run yet. A program whose source is put right later has connections of the former one. */
  async #attachNewest(machine: Machine): Promise<Machine> {
    let attached = machine
    for (;;) {
      const newest = this.#withEgress(attached)
      if (isSameSource(newest, attached)) return attached
      await this.#host.attach(newest, { fresh: true })
      attached = newest
    }
  }

  async #noteFailedStart({ machine, error }: FailedStart): Promise<void> {
    const attempt = this.#startFailures
    const made = this.#record.run !== null
    const plan = planFailedStart(this.#record, machine, { error, attempt }, this.#chance)
    await this.#save(plan.change, ...plan.events)
    this.#failedStart = undefined
    this.#startFailures += 1
    const message = messageOf(error)
    const about = { machine: this.id, attempt, final: plan.isFinal, error: message }
    this.#host.log.warn(about, 'start failed')
    if (attempt === 0 || plan.isFinal) this.#line('error', `Machine could not start: ${message}`)
    this.report()
    // The next attempt finds clean ground.
    if (made) await this.#takeAway()
    this.#exit = null
    await this.#detach()
  }

  /** Of a run that is over; the record has forgotten it already. Tried until it is done. */
  async #takeAway(): Promise<void> {
    this.#leftover = true
    await this.#host.runtime.delete(this.id)
    this.#leftover = false
    this.#exit = null
  }

  async #stop(step: Extract<Step, { do: 'stop' }>): Promise<void> {
    const { runtime, clock } = this.#host
    const run = this.#record.run!
    const state = STOPPING_STATE[step.why]
    const nowMs = clock.now()
    if (this.#record.state !== state || !run.stopRequested) {
      await this.#save(
        { state, run: { ...run, stopRequested: true } },
        ...stopEvents(step.why, nowMs),
      )
      this.#line('info', `Sending signal ${step.signal} to main child process`)
      this.report()
    }
    if (run.startedAtMs === null) {
      await this.#save({ run: null })
      return this.#takeAway()
    }
    await runtime.kill(this.id, step.signal)
    let killed = step.signal === 'SIGKILL'
    let untilMs = clock.now() + (killed ? KILL_TIMEOUT_MS : step.timeoutMs)
    while (!this.#exit && !this.#closed) {
      await this.#wake.sleep(Math.min(untilMs - clock.now(), this.#egressWaitMs()))
      if (this.#exit || this.#closed) break
      if (this.#egressWaitMs() <= 0) await this.#moveEgress()
      const next = this.#next()
      const hurry = next.do === 'stop' && next.signal === 'SIGKILL'
      if (!hurry && clock.now() < untilMs) continue
      if (killed && clock.now() >= untilMs)
        throw new FairwayError('machine_stuck', `machine ${this.id} did not end by SIGKILL`)
      if (!killed) {
        await runtime.kill(this.id, 'SIGKILL')
        untilMs = clock.now() + KILL_TIMEOUT_MS
      }
      killed = true
    }
  }

  async #handleExit(exit: SandboxExit): Promise<void> {
    const { config } = this.#record.machine
    const plan = planExit(this.#record, this.#target, exit, this.#chance)
    this.#host.stopped(this.id)
    this.#egress.stopped()
    await this.#save(plan.change, ...plan.events)
    this.#exit = null
    for (const [level, text] of exitLines(exit, plan.restart, config)) this.#line(level, text)
    this.report()
    await this.#takeAway()
    if (this.#record.state === 'stopped') await this.#release()
  }

  async #destroy(): Promise<void> {
    const { runtime, clock } = this.#host
    this.#host.stopped(this.id)
    await this.#standby.drop()
    await runtime.delete(this.id) // A sandbox that no record speaks of.
    this.#attached = true // As far as anybody knows.
    await this.#detach()
    const target = this.#target
    await this.#save(
      {
        state: 'destroyed',
        generation: target?.generation ?? this.#record.generation,
        retry: null,
        ...(target ? { machine: target } : {}),
      },
      ...(target ? this.#newInstance(target) : []),
      machineEvent(clock.now(), 'destroy', 'destroyed', target ? 'user' : 'flyd'),
    )
    this.#line('info', 'Machine destroyed')
    this.report()
  }

  #line(level: LogLine['level'], message: string): void {
    this.#host.line({ app: this.app, machine: this.id, level, message })
  }
}
