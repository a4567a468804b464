import { parseArgs } from 'node:util'
import { requestCase } from './requests.ts'
import { responseCase } from './responses.ts'
import { isResponse, runFuzz } from './run.ts'

/**
 * The differential proof of the edge's HTTP/1.1 (fuzz/README.md).
 *
 * usage: node fuzz/main.ts [--cases N] [--seed N] [--case K]...
 */
const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string' },
    case: { type: 'string', multiple: true },
  },
})
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : number(values.seed)
const only = values.case?.map(number)
console.log(`seed ${seed}`)
for (const k of only ?? [])
  console.log(k, JSON.stringify(isResponse(k) ? responseCase(seed, k) : requestCase(seed, k)))
const report = await runFuzz({ seed, cases: number(values.cases), only, log: console.log })
for (const [what, n] of Object.entries(report.counts)) console.log(`${what}: ${n}`)
console.log(`differences: ${report.differences.length}`)
process.exitCode = report.differences.length > 0 ? 1 : 0

function number(text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`"${text}" is not a number; use digits.`)
  return Number(text)
}
