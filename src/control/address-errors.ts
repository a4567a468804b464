import { FairwayError, invalid } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { Address, App } from '../model/resources.ts'
import { mayAct } from './access.ts'
import type { Actor } from './context.ts'
import type { Read } from './transact.ts'

/** What goes wrong with addresses, in words that name the address and the way out. */

async function dedicatedOf(read: Read, app: App): Promise<string[]> {
  const page = await read.range(`app-address/${app.name}/v4/`, { limit: 10 })
  return page.entries.map(({ key }) => key.slice(key.lastIndexOf('/') + 1))
}

export async function onlyDedicated(read: Read, app: App): Promise<string> {
  const [first, ...others] = await dedicatedOf(read, app)
  if (first === undefined) throw invalid(`app "${app.name}" has no dedicated IPv4 to detach`)
  if (others.length === 0) return first
  throw invalid(
    `app "${app.name}" has several dedicated IPv4 addresses (${[first, ...others].join(', ')}); name the one to detach`,
  )
}

export async function hasDedicated(read: Read, app: App): Promise<FairwayError> {
  const [first = '<address>'] = await dedicatedOf(read, app)
  return new FairwayError(
    'has_dedicated_v4',
    `app "${app.name}" has the dedicated IPv4 ${first}, so it cannot have a shared one too; ` +
      `release that first: fairway ips release ${first} -a ${app.name}`,
  )
}

export async function notOfApp(
  read: Read,
  actor: Actor,
  app: App,
  address: string,
  record: Address | undefined,
): Promise<FairwayError> {
  const owner = record?.app ? await read.peek<App>(keys.app(record.app)) : undefined
  if (owner && mayAct(actor, owner.org)) {
    return new FairwayError(
      'address_of_other_app',
      `${address} belongs to app "${owner.name}", not to "${app.name}"; use -a ${owner.name}`,
    )
  }
  if (record?.state === 'parked' && record.org !== null && mayAct(actor, record.org)) {
    return new FairwayError(
      'address_parked',
      `${address} is parked in org "${record.org}" and belongs to no app; ` +
        `give it to one with: fairway ips attach-v4 ${address} -a <app>`,
    )
  }
  return new FairwayError(
    'address_not_found',
    `app "${app.name}" has no address ${address}; see: fairway ips list -a ${app.name}`,
    { status: 404 },
  )
}

export const notInOrg = (app: App, address: string) =>
  new FairwayError(
    'address_not_found',
    `org "${app.org}" has no address ${address} that app "${app.name}" could get; ` +
      'only its own dedicated IPv4 addresses, parked or attached to one of its apps, can be attached',
    { status: 404 },
  )

export const notDedicated = (address: string, kind: Address['kind'], verb: string) =>
  new FairwayError(
    'not_dedicated_v4',
    `${address} is a ${kind} address; only dedicated IPv4 addresses can be ${verb}`,
  )

export const noSharedAddress = () =>
  new FairwayError(
    'pool_full',
    "there is no shared IPv4 to give: pools.sharedV4 in the control plane's configuration is empty",
  )
