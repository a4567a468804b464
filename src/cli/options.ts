import type { Command } from 'commander'

/** Adds the flags that every command takes, below a heading of their own. */
export const withGlobals = (command: Command): Command =>
  command
    .optionsGroup('Global options:')
    .option('-a, --app <name>', 'app (else FLY_APP, else `app` of fly.toml)')
    .option('-c, --config <path>', 'fly.toml, or the folder that it is in')
    .option('-o, --org <slug>', 'organization')
    .option('-t, --access-token <token>', 'token (else FLY_ACCESS_TOKEN, FLY_API_TOKEN)')
    .option('-j, --json', 'machine-readable output')
    .option('-y, --yes', 'answer yes to every question')
    .option('--verbose', 'show every request to the API on stderr')

/** The same for every command below `command` that does something itself. */
export function withGlobalsBelow(command: Command): void {
  for (const child of command.commands) {
    if (child.commands.length > 0) withGlobalsBelow(child)
    else withGlobals(child)
  }
}

/** Collects a flag that may come several times. */
export const repeated = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
]

/** `--flag`, `--flag=true`, `--flag=false` as flyctl takes them. */
export function booleanFlag(value: string | boolean): boolean {
  if (typeof value === 'boolean') return value
  if (/^(1|t|true)$/i.test(value)) return true
  if (/^(0|f|false)$/i.test(value)) return false
  throw new Error(`"${value}" is neither true nor false`)
}

/** Command lines to copy, each with what it does, below a command's help. */
export function withExamples(
  command: Command,
  examples: readonly (readonly [line: string, what: string])[],
): Command {
  const lines = examples.map(([line, what]) => `  # ${what}\n  ${line}`)
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}
