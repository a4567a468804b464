import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { renderEgressMetrics } from './metrics.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const RULES = readFileSync(join(ROOT, 'docs', 'alerts', 'egress.yaml'), 'utf8')
const METRICS = renderEgressMetrics({
  ...{ usage: [], counters: [], tracked: 1, trackedMax: 1, looks: 0, failures: 0, tookMs: 0 },
  ...{ reconciles: 0, flowLinesOmitted: 0 },
})
const known = new Set([...METRICS.matchAll(/^# TYPE (\S+)/gm)].map((found) => found[1]!))

test('rules ask for metrics that there are', () => {
  const exprs = [...RULES.matchAll(/^ +expr: (.+)$/gm)].map((found) => found[1]!)
  assert.equal(exprs.length, RULES.match(/^ +- alert: /gm)!.length)
  assert.ok(exprs.length >= 4)
  for (const expr of exprs) {
    const asked = expr.match(/fairway_[a-z_]+/g) ?? []
    assert.ok(asked.length > 0, expr)
    for (const name of asked) assert.ok(known.has(name), `${name} in "${expr}"`)
    assert.match(expr, / > [\d.]+$/, expr)
  }
})

test('every rule has a severity and says what to do', () => {
  for (const rule of RULES.split('- alert: ').slice(1)) {
    const name = rule.split('\n')[0]!
    assert.match(rule, /\n +severity: (warning|critical)\n/, name)
    assert.match(rule, /\n +summary: \S/, name)
    assert.match(rule, /\n +description: \S/, name)
  }
})

test('the page names every metric', () => {
  const page = readFileSync(join(ROOT, 'docs', 'egress-metrics.md'), 'utf8')
  const shortened = ['fairway_egress_conntrack_entries_max']
  for (const name of known) {
    const short = name.replace('fairway_egress_', '')
    const isThere = page.includes(name) || page.includes(`\`${short}\``) || shortened.includes(name)
    assert.ok(isThere, `docs/egress-metrics.md does not name ${name}`)
  }
})
