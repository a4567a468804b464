import { isoTime } from '../base/clock.ts'
import { conflict } from '../base/errors.ts'
import { numericId, ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import type { Org } from '../model/resources.ts'
import { orgFor } from './access.ts'
import type { Actor, Control } from './context.ts'
import { checkOrgSlug } from './names.ts'
import { put, readOne, transact } from './transact.ts'

/** The orgs that the token names, by slug. */
export async function listOrgs(control: Control, actor: Actor): Promise<Org[]> {
  const slugs = [...actor.token.orgs].sort()
  const orgs = await Promise.all(slugs.map((slug) => readOne<Org>(control.store, keys.org(slug))))
  return orgs.filter((org) => org !== undefined)
}

/** By slug, id or numeric id; 404 when the token does not name it. */
export const getOrg = (control: Control, actor: Actor, slugOrId: string): Promise<Org> =>
  orgFor(control, actor, slugOrId)

export interface NewOrg {
  readonly slug: string
  readonly name: string
  readonly type: Org['type']
}

/** Makes an org; the operator's act (set-up), so no actor. 409 when the slug is taken. */
export async function createOrg(control: Control, input: NewOrg): Promise<Org> {
  const slug = checkOrgSlug(input.slug)
  const nowMs = control.clock.now()
  const org: Org = {
    id: ulid(nowMs).toLowerCase(),
    numericId: numericId(),
    slug,
    name: input.name,
    type: input.type,
    createdAt: isoTime(nowMs),
    allowSharedBesideDedicated: false,
  }
  const { result } = await transact(control, async (read) => {
    if (await read.get(keys.org(slug))) throw conflict(`org "${slug}" exists already`)
    return { ops: [put(keys.org(slug), org)], result: org }
  })
  return result
}

/** The same, but an org that exists is left as it is: for set-up at every start. */
export async function ensureOrg(control: Control, input: NewOrg): Promise<Org> {
  const existing = await readOne<Org>(control.store, keys.org(input.slug))
  return existing ?? createOrg(control, input)
}

/** X14: whether apps of the org may have a shared IPv4 beside a dedicated one. */
export async function setAllowSharedBesideDedicated(
  control: Control,
  actor: Actor,
  input: { readonly org: string; readonly allow: boolean },
): Promise<Org> {
  const { slug } = await orgFor(control, actor, input.org)
  const { result } = await transact(control, async (read) => {
    const org = (await read.get<Org>(keys.org(slug)))!
    const changed: Org = { ...org, allowSharedBesideDedicated: input.allow }
    return { ops: [put(keys.org(slug), changed)], result: changed }
  })
  return result
}
