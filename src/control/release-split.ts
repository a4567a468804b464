import { invalid } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { App, Release, ReleaseShare } from '../model/resources.ts'
import { appWithin } from './access.ts'
import type { Actor, Control } from './context.ts'
import { put, transact } from './transact.ts'

/** Which share of an app's new requests goes to the machines of which release. */

export const SPLIT_RELEASES_MAX = 10
export const SPLIT_WEIGHT_MAX = 1_000

/** Without shares every machine counts alike, whatever its release. */
export async function setReleaseSplit(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly shares: readonly ReleaseShare[] },
): Promise<App> {
  const shares = [...input.shares].sort((a, b) => a.version - b.version)
  checkShares(shares)
  const { result } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, input.app)
    for (const { version } of shares) {
      if (await read.get<Release>(keys.release(app.name, version))) continue
      throw invalid(
        `shares: release ${version} is none of app "${app.name}"; "fairway releases" lists them`,
      )
    }
    const changed: App = { ...app, releaseSplit: shares.length > 0 ? shares : null }
    return { ops: [put(keys.app(app.name), changed)], result: changed }
  })
  return result
}

function checkShares(shares: readonly ReleaseShare[]): void {
  if (shares.length > SPLIT_RELEASES_MAX)
    throw invalid(`shares: ${shares.length} releases; name at most ${SPLIT_RELEASES_MAX}`)
  for (const [i, { version, weight }] of shares.entries()) {
    if (!Number.isInteger(version) || version < 1)
      throw invalid(`shares: version ${version} is no release; use a number such as 12`)
    if (shares[i + 1]?.version === version)
      throw invalid(`shares: release ${version} is given twice; give it one weight`)
    if (!Number.isInteger(weight) || weight < 0 || weight > SPLIT_WEIGHT_MAX)
      throw invalid(
        `shares: weight ${weight} of release ${version} is out of range; use 0 to ${SPLIT_WEIGHT_MAX}`,
      )
  }
  if (shares.length > 0 && shares.every(({ weight }) => weight === 0))
    throw invalid('shares: every weight is 0; give one release more, or no shares at all')
}
