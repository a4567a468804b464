import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, chownSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { eventually, run } from './world.ts'

/** A PostgreSQL server of a test's own, somewhere. */
export interface Postgres {
  /** Of `initdb`, `psql` and the others; Debian's wrappers look for clusters that are not ours. */
  readonly bin: string
  /** The file of its certificate, with `tls`. */
  readonly certificate: string
  /** Replaces pg_hba.conf and waits until it is in force. */
  setHba(lines: readonly string[]): Promise<void>
  /** As the superuser, over the socket in its folder. */
  sql(statement: string): Promise<string>
  close(): Promise<void>
}

export interface PostgresOptions {
  /** Stands in front of the server's command: where it runs. */
  readonly at: (argv: readonly string[]) => readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** Addresses to listen on. */
  readonly listen: readonly string[]
  readonly port: number
  readonly hba: readonly string[]
  /** With a certificate of its own for this name. */
  readonly tls?: string
}

const START_MS_MAX = 30_000
const CERTIFICATE = 'cert.pem'
/** The server refuses to run as root. */
const NOBODY = { uid: 65_534, gid: 65_534 }

export const postgresBin = (): string => {
  const found = globSync('/usr/lib/postgresql/*/bin/postgres').sort().at(-1)
  if (found === undefined) throw new Error('no PostgreSQL server; apt-get install postgresql')
  return dirname(found)
}

export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const bin = postgresBin()
  const isRoot = process.getuid?.() === 0
  const asNobody = isRoot
    ? ['setpriv', `--reuid=${NOBODY.uid}`, `--regid=${NOBODY.gid}`, '--clear-groups']
    : []
  const folder = mkdtempSync(join(tmpdir(), 'fairway-postgres-'))
  const data = join(folder, 'data')
  if (isRoot) chownSync(folder, NOBODY.uid, NOBODY.gid)
  chmodSync(folder, 0o700)
  const own = (path: string) => {
    if (isRoot) chownSync(path, NOBODY.uid, NOBODY.gid)
    chmodSync(path, 0o600)
  }
  const hbaFile = join(data, 'pg_hba.conf')
  const writeHba = (lines: readonly string[]) => {
    writeFileSync(hbaFile, `${['local all all trust', ...lines].join('\n')}\n`)
    own(hbaFile)
  }
  let server: ChildProcess | undefined
  const sql = async (statement: string): Promise<string> => {
    const psql = [join(bin, 'psql'), '-h', folder, '-p', String(options.port), '-U', 'postgres']
    const { stdout } = await run([...asNobody, ...psql, '-d', 'postgres', '-Atc', statement])
    return stdout.trim()
  }
  const close = async () => {
    const ended = server && new Promise((resolve) => server!.once('close', resolve))
    // At its place, where its process number is what its file says.
    const stop = [join(bin, 'pg_ctl'), 'stop', '-D', data, '-m', 'immediate', '-W']
    if (server?.exitCode === null) {
      const env = options.env ?? process.env
      const { status } = await run(options.at([...asNobody, ...stop]), { env, check: false })
      // One that never got so far as to write its file.
      if (status !== 0) server.kill('SIGKILL')
    }
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const initdb = [join(bin, 'initdb'), '-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync']
    await run([...asNobody, ...initdb])
    writeHba(options.hba)
    const settings = [`listen_addresses=${options.listen.join(',')}`, 'fsync=off']
    if (options.tls) settings.push('ssl=on', ...(await selfSigned(folder, options.tls, own)))
    const argv = [
      ...[join(bin, 'postgres'), '-D', data, '-k', folder, '-p', String(options.port)],
      ...settings.flatMap((setting) => ['-c', setting]),
    ]
    const [file, ...args] = options.at([...asNobody, ...argv])
    server = spawn(file!, args, { stdio: 'ignore', env: options.env ?? process.env })
    await eventually('PostgreSQL answers', START_MS_MAX, () => sql('select 1'))
  } catch (error) {
    await close()
    throw error
  }
  return {
    ...{ bin, sql, close },
    certificate: join(folder, CERTIFICATE),
    async setHba(lines) {
      const loaded = () => sql('select pg_conf_load_time()')
      const before = await loaded()
      writeHba(lines)
      await sql('select pg_reload_conf()')
      // What a new connection has of it is what the server's parent has read.
      await eventually('pg_hba.conf is read', START_MS_MAX, async () => (await loaded()) !== before)
    },
  }
}

async function selfSigned(
  folder: string,
  name: string,
  own: (path: string) => void,
): Promise<string[]> {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, CERTIFICATE)]
  const subject = [
    '-subj',
    `/CN=${name}`,
    '-addext',
    `subjectAltName=DNS:${name}`,
    '-days',
    '2',
    '-nodes',
    '-newkey',
    'rsa:2048',
  ]
  await run(['openssl', 'req', '-x509', ...subject, '-keyout', key, '-out', cert])
  for (const path of [key, cert]) own(path)
  return [`ssl_key_file=${key}`, `ssl_cert_file=${cert}`]
}
