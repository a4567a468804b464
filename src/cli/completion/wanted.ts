import type { Argument, Command, Option } from 'commander'

/** What could come next on a command line that is being typed, from the commands that there are. */

export interface Candidate {
  readonly value: string
  readonly description: string
}

/** Names that only the API or the file system knows. */
export type Source =
  | 'apps'
  | 'machines'
  | 'regions'
  | 'orgs'
  | 'addresses'
  | 'egress-addresses'
  | 'secrets'
  | 'outbound-proxies'
  | 'files'

export interface Wanted {
  readonly candidates: readonly Candidate[]
  readonly source?: Source
  /** What stands before each candidate in the word: `--region=iad,`. */
  readonly before: string
  /** What was typed of the candidate. */
  readonly typed: string
  /** Another one may follow in the same word. */
  readonly isList: boolean
  /** Values of flags that were typed, by the flag's long name: `{ app: 'hello' }`. */
  readonly given: Readonly<Record<string, string>>
}

/** By flag: what its value is. */
const OF_FLAG: Readonly<Record<string, Source>> = {
  '--app': 'apps',
  '--to-app': 'apps',
  '--org': 'orgs',
  '--region': 'regions',
  '--regions': 'regions',
  '--primary-region': 'regions',
  '--machine': 'machines',
  '--to-machine': 'machines',
  '--instance': 'machines',
  '--ip': 'addresses',
  '--config': 'files',
  '--world': 'files',
}
const VALUES: Readonly<Record<string, readonly string[]>> = {
  '--strategy': ['rolling', 'bluegreen', 'immediate'],
  '--restart': ['no', 'on-failure', 'always'],
  '--autostop': ['off', 'stop', 'suspend'],
  '--vm-cpu-kind': ['shared', 'performance'],
}
/** By command and argument, else by argument alone; null: somebody makes it up. */
const OF_ARGUMENT: Readonly<Record<string, Source | null>> = {
  'apps destroy names': 'apps',
  'secrets unset names': 'secrets',
  'egress address': 'egress-addresses',
  'ips release-egress addresses': 'egress-addresses',
  'outbound create name': null,
  'outbound name': 'outbound-proxies',
  address: 'addresses',
  addresses: 'addresses',
  machine: 'machines',
  id: 'machines',
  ids: 'machines',
  slug: 'orgs',
  codes: 'regions',
  folder: 'files',
  command: 'files',
  arguments: 'files',
}
/** `words` are those after the program's name; the last one, perhaps empty, is being typed. */
export function wantedAt(program: Command, words: readonly string[]): Wanted {
  const typed = words.at(-1) ?? ''
  const line = new Line(program)
  for (const word of words.slice(0, -1)) line.take(word)
  const { given } = line
  if (line.awaited) return ofOption(line.awaited, typed, '', given)
  const equals = /^(--[\w-]+=)(.*)$/s.exec(typed)
  if (equals && !line.onlyArguments) {
    const option = line.option(equals[1]!.slice(0, -1))
    return option ? ofOption(option, equals[2]!, equals[1]!, given) : nothing(typed, given)
  }
  if (typed.startsWith('-') && !line.onlyArguments) return offered(line.options(), typed, given)
  const commands = line.commands()
  if (commands.length > 0) return offered(commands, typed, given)
  return ofArgument(line, typed)
}

/** What a command line means up to a word. */
class Line {
  readonly given: Record<string, string> = {}
  #command: Command
  #path: string[] = []
  #arguments = 0
  /** Everything that follows is an argument. */
  onlyArguments = false
  /** The flag whose value comes next. */
  awaited: Option | undefined
  constructor(program: Command) {
    this.#command = program
  }

  take(word: string): void {
    if (this.awaited) {
      this.#give(this.awaited, word)
      this.awaited = undefined
    } else if (this.onlyArguments) this.#arguments += 1
    else if (word === '--') this.onlyArguments = true
    else if (word.startsWith('-') && word !== '-') this.#takeFlag(word)
    else this.#takeWord(word)
  }

  #takeFlag(word: string): void {
    const [name = '', value] = word.startsWith('--')
      ? word.split(/=(.*)/s)
      : [word.slice(0, 2), word.slice(2) || undefined]
    const option = this.option(name)
    if (!option) return
    if (value !== undefined) this.#give(option, value)
    else if (option.required) this.awaited = option
  }

  #takeWord(word: string): void {
    const child = this.#arguments === 0 ? this.#child(word) : undefined
    if (!child) {
      this.#arguments += 1
      return
    }
    this.#command = child
    this.#path.push(child.name())
  }

  #child(word: string): Command | undefined {
    return this.#command.commands.find((c) => c.name() === word || c.aliases().includes(word))
  }

  #give(option: Option, value: string): void {
    this.given[option.attributeName()] = value
  }

  option(flag: string): Option | undefined {
    return this.#command.options.find((one) => one.long === flag || one.short === flag)
  }

  options(): Candidate[] {
    const shown = this.#command.createHelp().visibleOptions(this.#command)
    return shown.flatMap(({ long, description }) => (long ? [{ value: long, description }] : []))
  }

  commands(): Candidate[] {
    if (this.#arguments > 0 || this.onlyArguments) return []
    const shown = this.#command.createHelp().visibleCommands(this.#command)
    return shown.map((one) => ({ value: one.name(), description: one.description() }))
  }

  /** The argument that comes next. */
  argument(): Argument | undefined {
    const all = this.#command.registeredArguments
    const last = all.at(-1)
    return all[this.#arguments] ?? (last?.variadic ? last : undefined)
  }

  get path(): readonly string[] {
    return this.#path
  }
}

const bare = (value: string): Candidate => ({ value, description: '' })

const COMMA_LIST = /[<[]codes[>\]]/

function ofOption(option: Option, typed: string, before: string, given: Wanted['given']): Wanted {
  const flag = option.long ?? ''
  const values = option.argChoices ?? VALUES[flag] ?? (option.optional ? ['true', 'false'] : [])
  if (values.length > 0) {
    return { ...offered(values.map(bare), typed, given), before }
  }
  const source = /<folder>/.test(option.flags) ? 'files' : (OF_FLAG[flag] ?? null)
  return sourced(source, typed, before, COMMA_LIST.test(option.flags), given)
}

function ofArgument(line: Line, typed: string): Wanted {
  const argument = line.argument()
  if (!argument) return nothing(typed, line.given)
  const { argChoices } = argument
  if (argChoices) return offered(argChoices.map(bare), typed, line.given)
  const name = argument.name()
  const [group = ''] = line.path
  const whole = [...line.path, name].join(' ')
  const known = [whole, `${group} ${name}`, name].find((key) => key in OF_ARGUMENT)
  const source = known === undefined ? null : OF_ARGUMENT[known]!
  return sourced(source, typed, '', name === 'codes', line.given)
}

function sourced(
  source: Source | null,
  typed: string,
  before: string,
  isList: boolean,
  given: Wanted['given'],
): Wanted {
  if (!source) return nothing(typed, given)
  const done = isList ? typed.slice(0, typed.lastIndexOf(',') + 1) : ''
  const rest = typed.slice(done.length)
  return { candidates: [], source, before: before + done, typed: rest, isList, given }
}

const offered = (
  all: readonly Candidate[],
  typed: string,
  given: Wanted['given'],
): Wanted & { readonly source?: never } => ({
  candidates: all.filter(({ value }) => value.startsWith(typed)),
  before: '',
  typed,
  isList: false,
  given,
})

const nothing = (typed: string, given: Wanted['given']): Wanted => offered([], typed, given)
