import { FairwayError } from '../../base/errors.ts'
import type { AppConfig } from './schema.ts'
import { shellWords } from './shell-words.ts'

/** `init` of a machine: what it runs. */
export interface Init {
  readonly cmd?: readonly string[]
  readonly entrypoint?: readonly string[]
  readonly exec?: readonly string[]
}

/** The command of `web:` in a Procfile; undefined when there is none. */
export function procfileWeb(text: string): string | undefined {
  return /^web:[ \t]*(\S.*?)[ \t]*\r?$/m.exec(text)?.[1]
}

/** Characters that mean something to a shell; a Procfile's line with one of them needs one. */
const SHELL_SYNTAX = /[$`|&;<>()*?~]/

/**
 * The config with the Procfile's `web:` line as its command, where it names none itself. What a shell
 * must read is given to one.
 */
export function withProcfile(config: AppConfig, procfile: string | undefined): AppConfig {
  const { cmd, entrypoint, exec } = config.experimental ?? {}
  if (procfile === undefined || config.processes || cmd || entrypoint || exec) return config
  const shell = SHELL_SYNTAX.test(procfile)
  const line = shell ? ['/bin/sh', '-c', procfile] : [...wordsOf(procfile, 'Procfile web')]
  return { ...config, experimental: { ...config.experimental, cmd: line } }
}

/**
 * What the machines of a group run: its line of [processes], else [experimental]. A folder has no
 * command of its own, so without any of them the deploy cannot work.
 */
export function initOf(config: AppConfig, group: string): Init {
  const { cmd, entrypoint, exec } = config.experimental ?? {}
  const extra = { ...(entrypoint && { entrypoint }), ...(exec && { exec }) }
  const line = config.processes?.[group]
  if (line) return { cmd: wordsOf(line, `processes.${group}`), ...extra }
  if (cmd || entrypoint || exec) return { ...(cmd && { cmd }), ...extra }
  throw noCommand(group)
}

/** The words of a command line; throws `bad_command`, which names the field. */
export function wordsOf(line: string, field: string): readonly string[] {
  const split = shellWords(line)
  if (split.ok && split.words.length > 0) return split.words
  const what = split.ok
    ? 'is empty'
    : split.error === 'open-quote'
      ? 'has an open quote'
      : 'ends in \\'
  throw new FairwayError('bad_command', `${field}: ${JSON.stringify(line)} ${what}; correct it.`)
}

const noCommand = (group: string) =>
  new FairwayError(
    'no_command',
    `No command for process group "${group}": the app's folder is deployed as it is, so fly.toml says ` +
      `what to run. Add [processes] with ${group} = "node server.js", or a Procfile with a web: line.`,
  )
