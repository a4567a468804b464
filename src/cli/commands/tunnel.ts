import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { VERSION } from '../../base/version.ts'
import { runTunnel } from '../../tunnel/main.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { TUNNEL_ENTRY, tunnelFile } from '../tunnel-file.ts'

/** `tunnel` reads its flags itself, as the file that `--write` makes does. */
export function registerTunnel(program: Command, io: Io): void {
  program
    .command('tunnel')
    .description("Run a command whose connections leave through an outbound proxy's addresses")
    .usage('[--map 5432:db.example.com:5432] [--to host:port] [--all] -- command [arguments]')
    .argument('[arguments...]')
    .helpOption(false)
    .passThroughOptions()
    .allowUnknownOption()
    .action((args: string[]) => tunnel(args, io))
}

async function tunnel(args: string[], io: Io): Promise<void> {
  if (args[0] === '--write') {
    write(args.slice(1), io)
    return
  }
  // From here on signals are the command's: the first would end us, with it still running.
  for (const signal of ['SIGINT', 'SIGTERM']) process.removeAllListeners(signal)
  process.exit(await runTunnel(args, TUNNEL_ENTRY))
}

function write([path, ...more]: string[], io: Io): void {
  if (path === undefined || more.length > 0)
    throw usage('give one path: fairway tunnel --write fairway-tunnel.mjs')
  const file = resolve(io.cwd, path)
  writeFileSync(file, tunnelFile(VERSION), { mode: 0o755 })
  io.stderr.write(`Wrote ${file}; run it with: node ${path} -- command\n`)
}
