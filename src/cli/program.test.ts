import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Command } from 'commander'
import { COMMANDS } from './commands.ts'
import { processIo } from './io.ts'
import { buildProgram } from './program.ts'

const io = processIo(new AbortController().signal)
const namesOf = (program: Command): string[] =>
  program.commands.flatMap((command) => [command.name(), ...command.aliases()])

test('each module of commands adds those that it is listed with, and is loaded for them alone', async () => {
  for (const { names } of COMMANDS)
    for (const name of names)
      assert.deepEqual(namesOf(await buildProgram(io, [name, '--json'])), names, name)
  const all = COMMANDS.flatMap(({ names }) => names)
  assert.equal(new Set(all).size, all.length)
})

test('arguments that do not begin with a command load them all', async () => {
  const all = COMMANDS.flatMap(({ names }) => names).sort()
  for (const args of [[], ['--help'], ['help', 'apps'], ['-a', 'status', 'deploy'], ['aps']])
    assert.deepEqual(namesOf(await buildProgram(io, args)).sort(), all)
})

test('a command that is loaded alone has the help that it has among all', async () => {
  const program = await buildProgram(io)
  for (const command of program.commands) {
    const [alone] = (await buildProgram(io, [command.name()])).commands.filter(
      (one) => one.name() === command.name(),
    )
    assert.equal(alone!.helpInformation(), command.helpInformation())
  }
})
