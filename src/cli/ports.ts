import { Service } from '../model/machine-config.ts'
import { usage } from './errors.ts'

/**
 * flyctl's `--port` (S46): `[edge|start-end][:internal][/proto[:handler...]]`, such as
 * `443:8080/tcp:tls:http`. A handler `-` removes the mapping.
 */
export interface PortFlag {
  readonly start: number
  readonly end: number
  readonly internal: number
  readonly protocol: 'tcp' | 'udp'
  readonly handlers: readonly string[]
  readonly remove: boolean
}

const FORM = /^(\d{1,5})(?:-(\d{1,5}))?(?::(\d{1,5}))?(?:\/(tcp|udp)((?::[a-z_-]+)*))?$/

export function parsePortFlag(text: string): PortFlag {
  const match = FORM.exec(text)
  if (!match) {
    const form = '[edge|start-end][:internal][/proto[:handler...]], such as 443:8080/tcp:tls:http'
    throw usage(`--port "${text}" is not of the form ${form}.`)
  }
  const [, startText, endText, internalText, protocol = 'tcp', handlerText = ''] = match
  const start = Number(startText)
  const end = Number(endText ?? startText)
  const internal = Number(internalText ?? startText)
  if ([start, end, internal].some((port) => port < 1 || port > 65_535) || start > end) {
    throw usage(`--port "${text}": ports are 1 to 65535, a range goes upwards.`)
  }
  const handlers = handlerText.split(':').filter((h) => h !== '')
  const remove = handlers.includes('-')
  return { start, end, internal, protocol: protocol as 'tcp' | 'udp', handlers, remove }
}

/** Services with the flags' ports added or taken away. */
export function withPorts(services: readonly Service[], flags: readonly PortFlag[]): Service[] {
  return flags
    .reduce<readonly Service[]>(withPort, services)
    .filter((s) => s.ports?.length) as Service[]
}

function withPort(services: readonly Service[], flag: PortFlag): Service[] {
  const same = (start?: number, end?: number) => start === flag.start && end === flag.end
  const others = services.map((service) => ({
    ...service,
    ports:
      service.protocol === flag.protocol
        ? (service.ports ?? []).filter((p) => !same(p.port ?? p.start_port, p.port ?? p.end_port))
        : service.ports,
  }))
  if (flag.remove) return others
  const number =
    flag.start === flag.end ? { port: flag.start } : { start_port: flag.start, end_port: flag.end }
  const port = { ...number, handlers: [...flag.handlers] }
  const index = others.findIndex(
    (s) => s.protocol === flag.protocol && s.internal_port === flag.internal,
  )
  if (index < 0) {
    const { protocol, internal } = flag
    return [...others, Service.parse({ protocol, internal_port: internal, ports: [port] })]
  }
  return others.map((s, i) =>
    i === index ? Service.parse({ ...s, ports: [...(s.ports ?? []), port] }) : s,
  )
}
