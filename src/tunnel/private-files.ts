import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filesFirst } from './hosts-file.ts'
import { resolverFile } from './resolver-file.ts'

/** Files that the command sees in place of the machine's own. */
export interface PrivateFiles {
  /** Pairs of file and place, for `mount --bind`, ended by `--`. */
  readonly mounts: readonly string[]
  /** Writes another file beside them and returns its path. */
  put(name: string, text: string): string
  close(): void
}

/** The path of a folder of our own, whose files everybody may read who gets there by a mount. */
export function privateFolder(): Pick<PrivateFiles, 'put' | 'close'> {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-tunnel-'))
  return {
    put(name, text) {
      const path = join(folder, name)
      writeFileSync(path, text, { mode: 0o644 })
      return path
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** resolv.conf with `nameserver`, and nsswitch.conf that leads there. */
export function privateFiles(nameserver: string, everything: boolean): PrivateFiles {
  const folder = privateFolder()
  const mounts: string[] = []
  const mount = (place: string, change: (text: string) => string) => {
    if (!existsSync(place)) return
    mounts.push(folder.put(place.replaceAll('/', '-'), change(readFileSync(place, 'utf8'))), place)
  }
  mount('/etc/resolv.conf', (text) => resolverFile(text, nameserver, everything))
  mount('/etc/nsswitch.conf', filesFirst)
  return { ...folder, mounts: [...mounts, '--'] }
}
