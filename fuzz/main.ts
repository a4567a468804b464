import { parseArgs } from 'node:util'
import { type Cases, corpusCases, generatedCases } from './cases.ts'
import { runFuzz } from './run.ts'

/**
 * The differential proof of the edge's HTTP/1.1 (fuzz/README.md): first the corpus, then cases of a seed.
 *
 * usage: node fuzz/main.ts [--cases N] [--seed N] [--case K]... [--corpus]
 */
const CASES = 100_000

const { values } = parseArgs({
  options: {
    cases: { type: 'string' },
    seed: { type: 'string' },
    case: { type: 'string', multiple: true },
    corpus: { type: 'boolean', default: false },
  },
})
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : number('seed')
const generated = generatedCases(seed, values.cases === undefined ? CASES : number('cases'))
const only = values.case?.map((text) => numberOf('case', text))
let differences = 0

// Nothing stays behind: what the rig has started ends with `exit`.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

if (values.corpus || !only) await run('corpus', corpusCases)
if (!values.corpus) await run(`seed ${seed}`, generated)
console.log(`differences: ${differences}`)
process.exitCode = differences > 0 ? 1 : 0

async function run(name: string, cases: Cases): Promise<void> {
  console.log(name)
  for (const k of only ?? [])
    console.log(k, JSON.stringify(cases.isResponse(k) ? cases.response(k) : cases.request(k)))
  const report = await runFuzz({ cases, only, log: console.log })
  for (const [what, n] of Object.entries(report.counts)) console.log(`  ${what}: ${n}`)
  differences += report.differences.length
}

function number(option: 'seed' | 'cases'): number {
  return numberOf(option, values[option]!)
}

function numberOf(option: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  console.error(`--${option} "${text}" is not a number; use digits, such as --${option} 7.`)
  process.exit(1)
}
