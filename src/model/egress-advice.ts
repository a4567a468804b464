import { EGRESS_SLOTS } from './resources.ts'

/**
 * What is worth knowing about an app's egress addresses before it hurts (E7). Pure: addresses and
 * machines in, sentences out, worst first within a region; empty when all is well, and always when
 * the app has no egress address.
 */

export interface AdviceAddress {
  readonly version: number
  /** Regions whose machines use it. */
  readonly regions: readonly string[]
  /** Kept for a group or a machine: no room for the others. */
  readonly kept: boolean
  /** Ids of the machines that use it. */
  readonly machines: readonly string[]
}

export interface AdviceMachine {
  readonly id: string
  readonly region: string
}

export interface AdviceInput {
  readonly app: string
  /** Of the app: without those of single machines and those that are being drained. */
  readonly addresses: readonly AdviceAddress[]
  /** Without those that have an address of their own. */
  readonly machines: readonly AdviceMachine[]
  /** Deploy strategy; `bluegreen` needs room for twice the machines. */
  readonly strategy?: string | undefined
}

/** Machines for each address that leave room for a deploy besides; more is worth a word. */
const COMFORTABLE = 40

export function egressAdvice({ app, addresses, machines, strategy }: AdviceInput): string[] {
  if (addresses.length === 0) return []
  const areas = areasOf(addresses)
  const covered = new Set(areas.flat())
  const elsewhere = [...new Set(machines.map((machine) => machine.region))]
    .filter((region) => !covered.has(region))
    .sort()
  return [
    ...areas.flatMap((regions) => areaAdvice({ app, addresses, machines, strategy }, regions)),
    ...elsewhere.map(
      (region) =>
        `${app} has machines in ${region} but no egress address there, while it has some in ` +
        `${[...covered].join(', ')}. Machines in ${region} leave through addresses of their hosts. ` +
        `\`fairway ips allocate-egress -a ${app} -r ${region}\` gives them one.`,
    ),
  ]
}

/** Regions that share an address belong together: its room is for the machines of all of them. */
function areasOf(addresses: readonly AdviceAddress[]): readonly (readonly string[])[] {
  let areas: string[][] = []
  for (const { regions } of addresses) {
    const touched = areas.filter((area) => area.some((region) => regions.includes(region)))
    const merged = [...new Set([...touched.flat(), ...regions])]
    areas = [...areas.filter((area) => !touched.includes(area)), merged]
  }
  return areas.map((area) => area.sort()).sort((a, b) => a[0]!.localeCompare(b[0]!))
}

function areaAdvice(input: AdviceInput, regions: readonly string[]): string[] {
  const { app } = input
  const where = regions.join(', ')
  const addresses = input.addresses.filter((one) => one.regions.some((r) => regions.includes(r)))
  const machines = input.machines.filter((machine) => regions.includes(machine.region))
  if (machines.length === 0) {
    return [
      `${app} has egress addresses in ${where} but no machines there; only machines there can use ` +
        'them, and they cost the same.',
    ]
  }
  const count = (version: number) => addresses.filter((one) => one.version === version).length
  return [
    ...unevenAdvice(app, where, count(4), count(6)),
    ...[4, 6].flatMap((version) => roomAdvice(input, where, addresses, machines, version)),
  ]
}

function unevenAdvice(app: string, where: string, v4: number, v6: number): string[] {
  if (v4 === v6) return []
  if (v4 === 0) return [`${app} has egress IPv6 in ${where} but no egress IPv4.`]
  if (v6 === 0) return [`${app} has egress IPv4 in ${where} but no egress IPv6.`]
  return [
    `${app} has ${v4} egress IPv4 and ${v6} egress IPv6 in ${where}. Unused ones cost the same; ` +
      'release what is too many.',
  ]
}

function roomAdvice(
  { app, strategy }: AdviceInput,
  where: string,
  addresses: readonly AdviceAddress[],
  machines: readonly AdviceMachine[],
  version: number,
): string[] {
  const kept = new Set(addresses.filter((one) => one.kept).flatMap((one) => one.machines))
  const have = addresses.filter((one) => !one.kept && one.version === version).length
  const need = machines.filter((machine) => !kept.has(machine.id)).length
  if (have === 0) return []
  const fact = `${app} has ${need} machines in ${where} and ${have} egress IPv${version}`
  const more = (each: number) => Math.ceil(need / each) - have
  const home = where.split(', ')[0]
  const fix = `\`fairway ips allocate-egress -a ${app} -r ${home}\``
  if (need > EGRESS_SLOTS * have) {
    return [
      `${fact}, which is enough for ${EGRESS_SLOTS * have}. Allocate at least ` +
        `${more(EGRESS_SLOTS)} more: ${fix}.`,
    ]
  }
  if (strategy === 'bluegreen') {
    const each = EGRESS_SLOTS / 2
    if (need <= each * have) return []
    return [
      `${fact}. A bluegreen deploy has twice the machines for a while; it needs at least ` +
        `${more(each)} more: ${fix}.`,
    ]
  }
  if (need <= COMFORTABLE * have) return []
  return [
    `${fact}. There is room for ${EGRESS_SLOTS * have - need} more; think of another before a ` +
      `deploy or a larger scale needs it: ${fix}.`,
  ]
}
