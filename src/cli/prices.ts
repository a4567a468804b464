import type { Session } from './session.ts'

/**
 * Prices of addresses by kind (`v4`, `shared_v4`, `v6`, `private_v6`, `egress_v4`, `egress_v6`), as a
 * person reads them.
 */
export type Prices = Readonly<Record<string, string>>

interface ApiPrice {
  readonly kind: string
  readonly perMonth: string
  readonly currency: string
}

/** `$2/mo`, `EUR 2.50/mo`; empty when it costs nothing. */
export function priceText({ perMonth, currency }: Omit<ApiPrice, 'kind'>): string {
  const amount = Number(perMonth)
  if (!(amount > 0)) return ''
  const shown = perMonth.replace(/\.0+$/, '')
  return `${currency === 'USD' ? '$' : `${currency} `}${shown}/mo`
}

/** What addresses cost where this API is; the operator's configuration. */
export async function readPrices(session: Session): Promise<Prices> {
  const { prices } = await session.client.get<{ prices: readonly ApiPrice[] }>('/api/v1/prices')
  return Object.fromEntries(prices.map((price) => [price.kind, priceText(price)]))
}
