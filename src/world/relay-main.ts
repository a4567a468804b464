import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { keepCompiled } from '../base/compiled.ts'

/**
 * Carries connections from a unix socket to an address in the world. usage: relay-main.ts SOCKET HOST PORT
 */
const [path, host, port] = process.argv.slice(2) as [string, string, string]
const CONNECTIONS_MAX = 2_000

rmSync(path, { force: true })
const server = createServer({ allowHalfOpen: true }, (outer) => {
  const inner = connect({ host, port: Number(port), allowHalfOpen: true })
  outer.on('error', () => inner.destroy())
  inner.on('error', () => outer.destroy())
  outer.on('close', () => inner.destroy())
  inner.on('close', () => outer.destroy())
  outer.pipe(inner)
  inner.pipe(outer)
})
server.maxConnections = CONNECTIONS_MAX
server.listen(path, () => {
  chmodSync(path, 0o600)
  process.send?.({ t: 'ready' })
  keepCompiled()
})
process.on('SIGTERM', () => process.exit(0))
