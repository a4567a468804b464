import type { z } from 'zod'
import {
  data,
  exact,
  has,
  int,
  is,
  lease,
  list,
  machine,
  machineIn,
  some,
  text,
  time,
} from './shapes.ts'
import { gql, M, type More, NONCE, ONE, rest } from './wire.ts'

/** Machines and their leases. */

export const LIST = rest(`GET ${M}`, list(machine))
export const GET_ONE = rest(`GET ${ONE}`, machine)
export const getIn = (...states: [string, ...string[]]) => rest(`GET ${ONE}`, machineIn(...states))
export const LEASE = (ttl: number) =>
  rest(`POST ${ONE}/lease?ttl=${ttl}`, lease, { keep: { nonce: 'data.nonce' } })
/** A refresh gives the same nonce. */
export const REFRESH = (ttl: number) =>
  rest(`POST ${ONE}/lease?ttl=${ttl}`, lease, {
    ...NONCE,
    name: 'refresh lease',
    same: { nonce: 'data.nonce' },
  })
export const UNLEASE = rest(`DELETE ${ONE}/lease`, undefined, NONCE)
export const leased = (call: string, answer?: z.ZodType, more: More = {}) =>
  rest(call, answer, { ...NONCE, ...more })
export const WAIT = (state: string) =>
  rest(`GET ${ONE}/wait?state=${state}&timeout=60`, has({ ok: is(true) }))
/** Machines with checks are asked about until all pass. */
export const PASSING = rest(
  `GET ${ONE}`,
  has({ checks: list(has({ name: some, status: is('passing'), updated_at: time })).min(1) }),
  { name: 'GET machine until checks pass', polls: true },
)
export const GET_MACHINE = gql(
  'GET_MACHINE',
  'query($machineId: String!){gqlmachine: machine(machineId: $machineId){id name app{name organization{id slug}}}}',
  { machineId: '<machine>' },
  data({
    gqlmachine: exact({
      id: some,
      name: some,
      app: exact({ name: is('shop'), organization: exact({ id: some, slug: is('personal') }) }),
    }),
  }),
)
/** Which sockets listen: deploy's advice. */
export const PS = rest(
  `GET ${ONE}/ps`,
  list(
    has({
      pid: int,
      stime: int,
      rtime: int,
      command: text,
      directory: text,
      cpu: int,
      rss: int,
      listen_sockets: list(exact({ proto: some, address: some })),
    }),
  ).min(1),
)
