import { METADATA } from '../api-types.ts'
import { usage } from '../errors.ts'
import { deployedMachines } from '../machines.ts'
import { table } from '../output.ts'
import type { Session } from '../session.ts'

const SPLIT = `query($appName: String!) { app(name: $appName) { releaseSplit { version weight } } }`
const SET_SPLIT = `mutation($input: SetReleaseSplitInput!) {
  setReleaseSplit(input: $input) { app { releaseSplit { version weight } } } }`

interface Share {
  readonly version: number
  readonly weight: number
}

/** Shows which release gets which share of new requests, or changes it. */
export async function releasesSplit(
  session: Session,
  words: readonly string[],
  flags: { readonly clear?: boolean },
): Promise<void> {
  if (flags.clear && words.length > 0) {
    throw usage('--clear takes every share away; give shares, or --clear alone.')
  }
  const shares = words.map(shareOf)
  const isChange = flags.clear === true || shares.length > 0
  const now = isChange ? await change(session, shares) : await read(session)
  if (session.wantsJson) return session.printJson(now)
  if (now.length === 0) {
    return session.print(`${session.app}: every machine counts alike, whatever its release.`)
  }
  await print(session, now)
}

async function read(session: Session): Promise<readonly Share[]> {
  const variables = { appName: session.app }
  const { app } = await session.client.graphql<{ app: { releaseSplit: Share[] } }>(SPLIT, variables)
  return app.releaseSplit
}

async function change(session: Session, shares: readonly Share[]): Promise<readonly Share[]> {
  const input = { appId: session.app, shares }
  const { setReleaseSplit } = await session.client.graphql<{
    setReleaseSplit: { app: { releaseSplit: Share[] } }
  }>(SET_SPLIT, { input })
  return setReleaseSplit.app.releaseSplit
}

async function print(session: Session, shares: readonly Share[]): Promise<void> {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0)
  const machines = await deployedMachines(session)
  const countOf = (version: number) =>
    machines.filter((m) => m.config.metadata?.[METADATA.releaseVersion] === String(version)).length
  session.print(
    table(
      ['Version', 'Weight', 'Share', 'Machines'],
      shares.map(({ version, weight }) => [
        `v${version}`,
        String(weight),
        `${Math.round((weight / total) * 1000) / 10} %`,
        String(countOf(version)),
      ]),
    ),
  )
  for (const { version, weight } of shares) {
    if (weight === 0 || countOf(version) > 0) continue
    session.note(`Warning: no machine runs v${version}; what is drawn for it goes to the others.`)
  }
}

function shareOf(word: string): Share {
  const match = /^v?(\d{1,9})=(\d{1,9})$/.exec(word)
  if (match) return { version: Number(match[1]), weight: Number(match[2]) }
  throw usage(`"${word}" is no share. Use VERSION=WEIGHT, such as 12=90 13=10.`)
}
