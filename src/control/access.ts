import { FairwayError, notFound } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { App, Org } from '../model/resources.ts'
import type { Actor, Control } from './context.ts'
import { type Read, readOne } from './transact.ts'

/**
 * Who may see what. What belongs to an org that the token does not name is answered exactly like
 * what does not exist, so that names of others cannot be probed.
 */

export const mayAct = (actor: Actor, org: string): boolean => actor.token.orgs.includes(org)

/** The text is matched as it is by existing clients (flyctl-api 2.1), so it names no app. */
export const appNotFound = (_name: string): FairwayError => notFound('Could not find App')

export const orgNotFound = (org: string): FairwayError =>
  notFound(`Could not find Organization "${org}"; see fairway orgs list`)

/** The app, if the actor may act in its org. */
export async function appFor(control: Control, actor: Actor, name: string): Promise<App> {
  if (!isAppName(name)) throw appNotFound(name)
  return checked(await readOne<App>(control.store, keys.app(name)), actor, name)
}

/**
 * The same for calls that no older client makes, whose error can say which app of the request is meant:
 * `field` is where it was named. What is not theirs is answered like what does not exist.
 */
export async function appNamedBy(
  control: Control,
  actor: Actor,
  field: string,
  name: string,
): Promise<App> {
  try {
    return await appFor(control, actor, name)
  } catch (error) {
    if (!(error instanceof FairwayError) || error.code !== 'not_found') throw error
    throw notFound(`${field}: there is no app "${name.slice(0, 64)}"; see fairway apps list`)
  }
}

/** The same within a transaction, which then holds only while the app is unchanged. */
export async function appWithin(read: Read, actor: Actor, name: string): Promise<App> {
  if (!isAppName(name)) throw appNotFound(name)
  return checked(await read.get<App>(keys.app(name)), actor, name)
}

/** What is no name cannot exist, and must not become part of a key. */
const isAppName = (name: string): boolean => name.length <= 63 && /^[a-z0-9-]+$/.test(name)

function checked(app: App | undefined, actor: Actor, name: string): App {
  if (!app || !mayAct(actor, app.org)) throw appNotFound(name)
  return app
}

/** The org with this slug, id or numeric id, if the actor may act in it. */
export async function orgFor(control: Control, actor: Actor, slugOrId: string): Promise<Org> {
  if (mayAct(actor, slugOrId)) {
    const org = await readOne<Org>(control.store, keys.org(slugOrId))
    if (org) return org
  }
  // By id: only among the actor's own orgs, of which a token names few.
  for (const slug of actor.token.orgs) {
    const org = await readOne<Org>(control.store, keys.org(slug))
    if (org && (org.id === slugOrId || String(org.numericId) === slugOrId)) return org
  }
  throw orgNotFound(slugOrId)
}
