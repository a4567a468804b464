import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { quoteWord, shellWords } from './shell-words.ts'

const words = (text: string) => {
  const split = shellWords(text)
  return split.ok ? split.words : split.error
}

for (const [text, want] of [
  ['node server.js', ['node', 'server.js']],
  ['  a\tb\n c ', ['a', 'b', 'c']],
  ['', []],
  [`sh -c 'echo "hi"; exit 1'`, ['sh', '-c', 'echo "hi"; exit 1']],
  [`a "b c"'d e'f`, ['a', 'b cd ef']],
  [`say "\\"q\\" \\$HOME \\n"`, ['say', '"q" $HOME \\n']],
  ['a\\ b c', ['a b', 'c']],
  [`a "" ''`, ['a', '', '']],
  ['$PORT * | x', ['$PORT', '*', '|', 'x']],
  ['a # comment', ['a']],
  ['a#b', ['a#b']],
  [`a 'b`, 'open-quote'],
  ['a "b\\"', 'open-quote'],
  ['a \\', 'trailing-backslash'],
] as const) {
  test(`words of ${JSON.stringify(text)}`, () => assert.deepEqual(words(text), want))
}

/** Those that mean something to a shell, among some that do not. */
const CHARACTERS = fc.constantFrom(...' \t\n"\'\\$#*|;&`ab1é漢\u0000')

test('words that were quoted come back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: CHARACTERS })), (list) => {
      assert.deepEqual(words(list.map(quoteWord).join(' ')), list)
    }),
  )
})
