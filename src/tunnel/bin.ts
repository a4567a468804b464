import { fileURLToPath } from 'node:url'
import { runInside } from './inside.ts'
import { INSIDE } from './inside-protocol.ts'
import { runTunnel } from './main.ts'

const args = process.argv.slice(2)
const code =
  args[0] === INSIDE
    ? await runInside(args.slice(1))
    : await runTunnel(args, fileURLToPath(import.meta.url))
process.exit(code)
