import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeMachine, measureEdge, printEdge } from './edge.ts'
import { measureEdgePaths, printEdgePaths } from './edge-paths.ts'
import { measureEgress, printEgress } from './egress.ts'
import { measureGrowth, printGrowth } from './growth.ts'
import { measureOutbound, printOutbound } from './outbound.ts'
import { measureWorld, type WorldResult } from './world.ts'

/**
 * Everything that is measured, in one run: a table for people, JSON under bench/results.
 *
 * usage: main.ts [edge|paths|growth|egress|outbound|world] (default: all)
 */
const RESULTS = join(import.meta.dirname, 'results')
const [only] = process.argv.slice(2)
if (
  only !== undefined &&
  !['edge', 'paths', 'growth', 'egress', 'outbound', 'world'].includes(only)
) {
  process.stderr.write(
    `bench: there is no "${only}"; give edge, paths, growth, egress, outbound, world or nothing for all\n`,
  )
  process.exit(1)
}

const machine = describeMachine()
const result: Record<string, unknown> = { machine }
if (only === undefined || only === 'world') {
  const world = await measureWorld()
  printWorld(world)
  result.world = world
}
if (only === undefined || only === 'edge') {
  const edge = await measureEdge()
  printEdge(edge)
  Object.assign(result, { proxies: edge.proxies, ratios: edge.ratios })
}
if (only === undefined || only === 'paths') {
  const paths = await measureEdgePaths()
  printEdgePaths(paths)
  result.paths = paths
}
if (only === undefined || only === 'growth') {
  const growth = measureGrowth()
  printGrowth(growth)
  result.growth = growth
}
if (only === undefined || only === 'egress') {
  const egress = measureEgress()
  printEgress(egress)
  result.egress = egress
}
if (only === undefined || only === 'outbound') {
  const outbound = await measureOutbound()
  printOutbound(outbound)
  result.outbound = outbound
}
mkdirSync(RESULTS, { recursive: true })
const file = join(RESULTS, `${only ?? 'all'}-${new Date().toISOString().replaceAll(':', '')}.json`)
writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
process.stdout.write(`\n${file}\n`)

function printWorld({ upMs, ...measured }: WorldResult): void {
  const rows = Object.entries(measured).map(([name, p]) => ({ what: name, ...p }))
  console.table(rows)
  process.stdout.write(`up: ${upMs.join(', ')} ms (the first one makes its state)\n\n`)
}
