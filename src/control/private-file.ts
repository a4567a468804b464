import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'

/**
 * Makes a file that only its owner may read (0600), unless it is there. It is written whole beside its
 * place and then linked there: a crash leaves all of it or nothing, and of two makers the first wins.
 */
export function createPrivateFile(path: string, content: Buffer | string): void {
  if (existsSync(path)) return
  const draft = `${path}.${process.pid}`
  const fd = openSync(draft, 'w', 0o600)
  try {
    writeFileSync(fd, content)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(draft)
  }
}
