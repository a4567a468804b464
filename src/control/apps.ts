import { isoTime } from '../base/clock.ts'
import { conflict, FairwayError } from '../base/errors.ts'
import { numericId, ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import type { App } from '../model/resources.ts'
import { appFor, appNotFound, appWithin, mayAct, orgFor } from './access.ts'
import { type DeletingApp, finishDeletion } from './app-deletion.ts'
import type { Actor, Control } from './context.ts'
import { checkAppName, checkNetworkName } from './names.ts'
import { DEFAULT_NETWORK, ensureNetwork, NETWORK_LANE } from './networks.ts'
import { del, put, readOne, readPage, transact } from './transact.ts'

/** Apps. A name is unique over all orgs, because it is a host name. */

export const APPS_LISTED_MAX = 100_000

export interface NewApp {
  readonly name: string
  /** Slug or id. */
  readonly org: string
  /** The private network (N5), made when it is new; the org's default one when absent. */
  readonly network?: string | null
}

/** 422 `name_taken` when any org has an app of that name. Nothing is allocated (I9). */
export async function createApp(control: Control, actor: Actor, input: NewApp): Promise<App> {
  const name = checkAppName(input.name)
  const networkName = checkNetworkName(input.network || DEFAULT_NETWORK)
  const org = await orgFor(control, actor, input.org)
  const plan = async (read: Parameters<Parameters<typeof transact>[1]>[0]) => {
    if (await read.get(keys.app(name))) throw nameTaken(name)
    if (await read.get(keys.appDeleting(name))) throw stillDeleting(name)
    const { network, ops } = await ensureNetwork(read, org.slug, networkName)
    const nowMs = control.clock.now()
    const app: App = {
      id: ulid(nowMs).toLowerCase(),
      numericId: numericId(),
      name,
      org: org.slug,
      network: network.name,
      networkId: network.id,
      sharedV4: null,
      status: 'pending',
      createdAt: isoTime(nowMs),
      releaseSplit: null,
    }
    return {
      ops: [...ops, put(keys.app(name), app), put(keys.orgApp(org.slug, name), { name })],
      result: app,
    }
  }
  const isKnown = await readOne(control.store, keys.network(org.slug, networkName))
  return (await transact(control, plan, isKnown ? {} : { lane: NETWORK_LANE })).result
}

/** 404 `Could not find App` when there is none that the actor may see. */
export const getApp = (control: Control, actor: Actor, name: string): Promise<App> =>
  appFor(control, actor, name)

export interface AppPage {
  readonly apps: readonly App[]
  /** Pass it as `after` for the next page; null at the end. */
  readonly next: string | null
}

/** Apps of one org, or of all of the actor's, by org and name. */
export async function pageApps(
  control: Control,
  actor: Actor,
  options: { readonly org?: string | null; readonly after?: string | null; readonly limit: number },
): Promise<AppPage> {
  const slugs = options.org
    ? [(await orgFor(control, actor, options.org)).slug]
    : [...actor.token.orgs].sort()
  const [afterOrg = '', afterName = ''] = (options.after ?? '').split('/')
  const found: string[] = []
  for (const slug of slugs.filter((s) => s >= afterOrg)) {
    const wanted = options.limit + 1 - found.length
    if (wanted <= 0) break
    const prefix = `org-app/${slug}/`
    const { entries } = await readPage(control.store, prefix, {
      limit: wanted,
      ...(slug === afterOrg ? { after: `${prefix}${afterName}` } : {}),
    })
    found.push(...entries.map(({ key }) => key.slice('org-app/'.length)))
  }
  const page = found.slice(0, options.limit)
  const apps = await Promise.all(
    page.map((path) => readOne<App>(control.store, keys.app(path.slice(path.indexOf('/') + 1)))),
  )
  return {
    // Since it was listed, a name may have been taken anew by another org.
    apps: apps.filter((app) => isVisible(actor, app)),
    next: found.length > page.length ? page.at(-1)! : null,
  }
}

/** All of them. */
export async function listApps(
  control: Control,
  actor: Actor,
  options: { readonly org?: string | null } = {},
): Promise<App[]> {
  const apps: App[] = []
  let after: string | null = null
  do {
    const page: AppPage = await pageApps(control, actor, { ...options, after, limit: PAGE })
    apps.push(...page.apps)
    after = page.next
  } while (after !== null && apps.length < APPS_LISTED_MAX)
  return apps
}
const PAGE = 500

/** The app has been deployed for the first time; nothing changes when it was before. */
export async function markDeployed(control: Control, name: string): Promise<void> {
  await transact(control, async (read) => {
    const app = await read.get<App>(keys.app(name))
    if (app?.status !== 'pending') return { ops: [], result: null }
    return { ops: [put(keys.app(name), { ...app, status: 'deployed' })], result: null }
  })
}

/**
 * Deletes the app at once, and then gives back what it held: addresses into quarantine, secrets,
 * releases, artifacts away; machines that it still has are destroyed. What a crash interrupts is
 * finished by `resumeDeletions`; until then the name cannot be used again. With an `id`, only the app
 * that has it: the name may be another's by now.
 */
export async function deleteApp(
  control: Control,
  actor: Actor,
  name: string,
  id?: string,
): Promise<void> {
  await transact(control, async (read) => {
    const app = await appWithin(read, actor, name)
    if (id !== undefined && app.id !== id) throw appNotFound(name)
    const { org, createdAt } = app
    const deleting: DeletingApp = { name, org, createdAt, since: isoTime(control.clock.now()) }
    return {
      ops: [
        del(keys.app(name)),
        del(keys.orgApp(app.org, name)),
        put(keys.appDeleting(name), deleting),
      ],
      result: null,
    }
  })
  await finishDeletion(control, name)
}

/** Whether the actor may see the app: for lists that were made from something else. */
export const isVisible = (actor: Actor, app: App | undefined): app is App =>
  app !== undefined && mayAct(actor, app.org)

const nameTaken = (name: string) =>
  new FairwayError(
    'name_taken',
    `Name has already been taken: "${name}"; app names are unique across all orgs, choose another`,
  )

const stillDeleting = (name: string) =>
  conflict(`app "${name}" is still being deleted; try again in a few seconds`)
