/**
 * Splits a command line into words as a POSIX shell does (IEEE 1003.1, 2.2 Quoting), without
 * expansion: `$NAME`, `*`, `|` and `;` stay as they are, since no shell stands behind [processes].
 */
export type ShellWords =
  | { readonly ok: true; readonly words: readonly string[] }
  | { readonly ok: false; readonly error: 'open-quote' | 'trailing-backslash' }

/** What a backslash escapes inside double quotes; before anything else it stands for itself. */
const ESCAPED_IN_DOUBLE = new Set(['$', '`', '"', '\\'])
const BLANK = new Set([' ', '\t', '\n', '\r'])

interface Cursor {
  readonly text: string
  at: number
}

export function shellWords(text: string): ShellWords {
  const words: string[] = []
  const cursor: Cursor = { text, at: 0 }
  let word: string | undefined
  while (cursor.at < text.length) {
    const char = text[cursor.at]!
    if (BLANK.has(char)) {
      if (word !== undefined) words.push(word)
      word = undefined
      cursor.at += 1
      continue
    }
    if (char === '#' && word === undefined) break
    const piece = readPiece(cursor)
    if (piece.error) return { ok: false, error: piece.error }
    word = (word ?? '') + piece.text
  }
  if (word !== undefined) words.push(word)
  return { ok: true, words }
}

type Piece =
  | { text: string; error?: undefined }
  | { error: 'open-quote' | 'trailing-backslash'; text?: undefined }

function readPiece(cursor: Cursor): Piece {
  const char = cursor.text[cursor.at]!
  if (char === "'") return readSingle(cursor)
  if (char === '"') return readDouble(cursor)
  if (char === '\\') return readEscape(cursor)
  cursor.at += 1
  return { text: char }
}

function readEscape(cursor: Cursor): Piece {
  const next = cursor.text[cursor.at + 1]
  if (next === undefined) return { error: 'trailing-backslash' }
  cursor.at += 2
  return { text: next === '\n' ? '' : next }
}

function readSingle(cursor: Cursor): Piece {
  const end = cursor.text.indexOf("'", cursor.at + 1)
  if (end < 0) return { error: 'open-quote' }
  const text = cursor.text.slice(cursor.at + 1, end)
  cursor.at = end + 1
  return { text }
}

function readDouble(cursor: Cursor): Piece {
  let text = ''
  for (let i = cursor.at + 1; i < cursor.text.length; i++) {
    const char = cursor.text[i]!
    if (char === '"') {
      cursor.at = i + 1
      return { text }
    }
    const next = cursor.text[i + 1]
    if (char === '\\' && next !== undefined && (ESCAPED_IN_DOUBLE.has(next) || next === '\n')) {
      if (next !== '\n') text += next
      i += 1
    } else text += char
  }
  return { error: 'open-quote' }
}

/** A word quoted so that a shell reads it back unchanged. */
export const quoteWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
