import { Argument, type Command } from 'commander'
import { completionOf } from '../completion/complete.ts'
import { SCRIPTS, type Shell } from '../completion/scripts.ts'
import type { Io } from '../io.ts'
import { withExamples } from '../options.ts'
import { buildProgram } from '../program.ts'

const SHELLS = Object.keys(SCRIPTS) as Shell[]

export function registerCompletion(program: Command, io: Io): void {
  const completion = program
    .command('completion')
    .description("Print a shell's completion script; it also completes names of apps and machines")
    .addArgument(new Argument('<shell>', 'your shell').choices(SHELLS))
    .action((shell: Shell) => void io.stdout.write(SCRIPTS[shell]))
  withExamples(completion, [
    ['source <(fairway completion bash)', 'in ~/.bashrc'],
    ['source <(fairway completion zsh)', 'in ~/.zshrc, after compinit'],
    ['fairway completion fish | source', 'in ~/.config/fish/config.fish'],
  ])
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: string[]) => {
      io.stdout.write(await completionOf(await buildProgram(io, words.slice(0, -1)), io, words))
    })
}
