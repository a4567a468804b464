import type { Exec } from '../kernel/exec.ts'
import { inNetns } from '../kernel/exec.ts'
import type { Place, Wire, WorldPlan } from './plan.ts'

/** Makes the places and wires of a plan. Only for a fresh network namespace tree: no clean-up. */
export async function buildNetwork(exec: Exec, plan: WorldPlan): Promise<void> {
  const names = plan.places.map((p) => p.name)
  await batch(
    exec,
    names.map((name) => `netns add ${name}`),
  )
  await Promise.all(plan.places.map((place) => prepare(exec, place)))
  for (const wire of plan.wires) {
    await batch(exec, [
      `link add name ${wire.a.device} netns ${wire.a.place} type veth peer name ${wire.b.device} netns ${wire.b.place}`,
    ])
  }
  await Promise.all(plan.places.map((place) => configure(exec, place, plan.wires)))
}

const SYSCTLS = [
  'net.ipv6.conf.all.accept_dad=0',
  'net.ipv6.conf.default.accept_dad=0',
  'net.ipv4.conf.all.rp_filter=0',
  'net.ipv4.conf.default.rp_filter=0',
  'net.ipv4.ip_unprivileged_port_start=0',
]
const ROUTER_SYSCTLS = [
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
  // Flows stay on one of several equal hosts: hash over ports too.
  'net.ipv4.fib_multipath_hash_policy=1',
  'net.ipv6.fib_multipath_hash_policy=1',
]

async function prepare(exec: Exec, place: Place): Promise<void> {
  const settings = place.kind === 'router' ? [...SYSCTLS, ...ROUTER_SYSCTLS] : SYSCTLS
  await inNetns(exec, place.name).run(['sysctl', '-q', '-w', ...settings])
}

/** Addresses, links and default routes of one place. */
async function configure(exec: Exec, place: Place, wires: readonly Wire[]): Promise<void> {
  const ends = wires.flatMap((w) => [w.a, w.b]).filter((end) => end.place === place.name)
  const lines = ['link set dev lo up']
  for (const end of ends) {
    lines.push(`addr add ${end.v4}/30 dev ${end.device}`)
    lines.push(`addr add ${end.v6}/64 dev ${end.device} nodad`)
    lines.push(`link set dev ${end.device} up`)
  }
  if (place.via) {
    lines.push(`route add default via ${place.via.v4}`)
    lines.push(`route add default via ${place.via.v6}`)
  }
  await exec.run(['ip', '-n', place.name, '-batch', '-'], { stdin: `${lines.join('\n')}\n` })
}

const batch = (exec: Exec, lines: readonly string[]) =>
  exec.run(['ip', '-batch', '-'], { stdin: `${lines.join('\n')}\n` })
