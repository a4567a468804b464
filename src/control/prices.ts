import type { Address } from '../model/resources.ts'
import type { Control } from './context.ts'

export interface Price {
  readonly kind: Address['kind']
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
