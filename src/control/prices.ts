import type { Address } from '../model/resources.ts'
import type { Control } from './context.ts'

export interface Price<K extends string = Address['kind']> {
  readonly kind: K
  /** Decimal text, such as "2.00". */
  readonly perMonth: string
  /** ISO 4217. */
  readonly currency: string
}

/** What one address of a kind costs; the operator's configuration. */
export function priceOf({ config }: Pick<Control, 'config'>, kind: Address['kind']): Price {
  const { prices } = config
  const perMonth = {
    v4: prices.v4PerMonth,
    shared_v4: prices.sharedV4PerMonth,
    v6: prices.v6PerMonth,
    private_v6: prices.privateV6PerMonth,
  }[kind]
  return { kind, perMonth, currency: prices.currency }
}

export const ADDRESS_KINDS = ['v4', 'shared_v4', 'v6', 'private_v6'] as const

export const allPrices = (control: Pick<Control, 'config'>): Price[] =>
  ADDRESS_KINDS.map((kind) => priceOf(control, kind))

/** Of one egress address; GraphQL's enum of kinds, which is flyctl's, does not have them. */
export function egressPrices({
  config: { prices },
}: Pick<Control, 'config'>): Price<'egress_v4' | 'egress_v6'>[] {
  const { currency, egressV4PerMonth, egressV6PerMonth } = prices
  return [
    { kind: 'egress_v4', perMonth: egressV4PerMonth, currency },
    { kind: 'egress_v6', perMonth: egressV6PerMonth, currency },
  ]
}
