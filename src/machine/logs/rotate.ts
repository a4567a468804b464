import { constants } from 'node:fs'
import { open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { rotatedPath } from './tail.ts'

/** Per file; a machine keeps two. */
export const APP_LOG_BYTES_MAX = 10 * 1024 * 1024
/** conmon's control message "open the log anew": type 2, two unused numbers. */
const REOPEN = '2 0 0\n'

export const appLogPath = (folder: string): string => join(folder, 'log', 'app.log')

/**
 * Turns a running machine's log over when it is large: the file is renamed, then its supervisor is
 * asked to open a new one. What it writes in between goes to the renamed file, so no line is lost.
 */
export async function rotateAppLog(folder: string, bytesMax = APP_LOG_BYTES_MAX): Promise<boolean> {
  const path = appLogPath(folder)
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  if (size < bytesMax) return false
  // Opened first: without a supervisor (ENXIO) nothing would make a new file.
  const control = await open(
    join(folder, 'bundle', 'ctl'),
    constants.O_WRONLY | constants.O_NONBLOCK,
  ).catch(() => undefined)
  if (!control) return false
  try {
    await rename(path, rotatedPath(path))
    await control.write(REOPEN)
  } finally {
    await control.close()
  }
  return true
}
