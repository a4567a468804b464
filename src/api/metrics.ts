import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Fleet } from '../control/fleet.ts'

/** What the control plane counts; Prometheus' text at GET /metrics. */
export interface ControlMetrics {
  readonly registry: Registry
  request(method: string, route: string, status: number, seconds: number): void
  report(host: string, machines: number): void
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 60]

export function createMetrics(fleet: Fleet): ControlMetrics {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Histogram({
    name: 'fairway_control_http_request_seconds',
    help: 'Time to answer a request of the API, by route.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: SECONDS,
    registers,
  })
  const reports = new Counter({
    name: 'fairway_control_reports_total',
    help: 'Reports taken from hosts.',
    labelNames: ['host'] as const,
    registers,
  })
  const changes = new Counter({
    name: 'fairway_control_machine_reports_total',
    help: 'Machines that reports spoke of.',
    labelNames: ['host'] as const,
    registers,
  })
  new Gauge({
    name: 'fairway_control_host_live',
    help: '1 while the host reports.',
    labelNames: ['host', 'region'] as const,
    registers,
    collect() {
      this.reset()
      for (const { id, region } of fleet.hosts())
        this.set({ host: id, region }, fleet.isLive(id) ? 1 : 0)
    },
  })
  return {
    registry,
    request: (method, route, status, seconds) =>
      requests.observe({ method, route, status: String(status) }, seconds),
    report: (host, machines) => {
      reports.inc({ host })
      changes.inc({ host }, machines)
    },
  }
}
