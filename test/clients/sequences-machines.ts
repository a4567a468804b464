import { launch, ofRun } from './machine-bodies.ts'
import type { Sequence } from './replay.ts'
import { config, has, int, is, lease, list, restError, some } from './shapes.ts'
import { M, ONE, rest } from './wire.ts'
import { EGRESS_APP } from './wire-addresses.ts'
import { APP_COMPACT, APP_NETWORK, REST_APP } from './wire-apps.ts'
import {
  GET_MACHINE,
  GET_ONE,
  getIn,
  LEASE,
  LIST,
  leased,
  PS,
  UNLEASE,
  WAIT,
} from './wire-machines.ts'
import { IMAGE_CHAIN } from './wire-releases.ts'

/** Commands about single machines. */

const ok = has({ ok: is(true) })
const started = has({ id: some, name: some, instance_id: some, private_ip: some, config })

export const MACHINES: readonly Sequence[] = [
  {
    command: 'machine run IMAGE -r iad',
    steps: [
      APP_COMPACT,
      APP_NETWORK,
      REST_APP,
      ...IMAGE_CHAIN,
      rest(`POST ${M}`, started, {
        body: launch(ofRun, { region: 'iad', name: 'single' }),
        keep: { machine: 'id' },
      }),
      WAIT('started'),
      EGRESS_APP,
    ],
  },
  { command: 'machine list', steps: [LIST] },
  { command: 'machine status ID', steps: [GET_MACHINE, getIn('started')] },
  {
    command: 'machine stop ID -w 30s',
    steps: [
      GET_ONE,
      LEASE(120),
      leased(`POST ${ONE}/stop`, ok, { body: { id: '<machine>', timeout: '0s' } }),
      GET_ONE,
      WAIT('stopped'),
      UNLEASE,
      getIn('stopped'),
    ],
  },
  {
    command: 'machine start ID',
    steps: [
      GET_ONE,
      LEASE(120),
      leased(
        `POST ${ONE}/start`,
        has({ message: is(''), status: is('success'), previous_state: is('stopped') }),
      ),
      UNLEASE,
      WAIT('started'),
    ],
  },
  {
    command: 'machine restart ID',
    steps: [
      GET_ONE,
      LEASE(120),
      leased(`POST ${ONE}/restart?force_stop=false&timeout=10s`, ok),
      WAIT('started'),
      UNLEASE,
    ],
  },
  {
    command: 'machine suspend ID, and start it again',
    steps: [
      GET_ONE,
      LEASE(120),
      leased(`POST ${ONE}/suspend`, ok),
      UNLEASE,
      WAIT('suspended'),
      LEASE(120),
      leased(`POST ${ONE}/start`, has({ status: is('success') })),
      UNLEASE,
      WAIT('started'),
    ],
  },
  {
    command: 'machine cordon, machine uncordon ID',
    steps: [
      GET_ONE,
      LEASE(120),
      leased(`POST ${ONE}/cordon`, ok),
      UNLEASE,
      rest(`GET ${ONE}`, has({ cordoned: is(true) })),
      LEASE(120),
      leased(`POST ${ONE}/uncordon`, ok),
      UNLEASE,
    ],
  },
  {
    command: 'machine update ID --image IMAGE --yes',
    steps: [
      GET_ONE,
      LEASE(120),
      APP_COMPACT,
      ...IMAGE_CHAIN,
      leased(`POST ${ONE}`, has({ id: some, instance_id: some }), {
        body: launch({ ...ofRun, env: { NEW: '1' } }, { region: 'iad' }),
        keep: { instance: 'instance_id' },
      }),
      WAIT('settled'),
      getIn('started'),
      UNLEASE,
      rest(`GET ${ONE}/wait?state=started&timeout=60&version=<instance>`, ok),
    ],
  },
  {
    command: 'machine update of one that another holds',
    steps: [
      LEASE(120),
      rest(`POST ${ONE}/lease?ttl=120`, restError(/lease currently held by/), { status: 409 }),
      rest(`POST ${ONE}/stop`, restError(/lease currently held by/), { status: 409, body: {} }),
      rest(`GET ${ONE}/lease`, lease),
      UNLEASE,
      rest(`GET ${ONE}/lease`, restError(/lease not found/), { status: 404 }),
    ],
  },
  {
    command: 'machine exec, ps and metadata',
    steps: [
      rest(`POST ${ONE}/exec`, has({ exit_code: is(0), stdout: is('hello\n'), stderr: is('') }), {
        body: { cmd: 'echo hello', timeout: 10 },
      }),
      PS,
      rest(`POST ${ONE}/metadata/note`, undefined, { status: 204, body: { value: 'kept' } }),
      rest(`GET ${ONE}/metadata`, has({ note: is('kept'), role: is('one-off') })),
      rest(`DELETE ${ONE}/metadata/note`, undefined, { status: 204 }),
      rest(`GET ${ONE}/versions`, list(has({ version: some, user_config: config })).min(1)),
    ],
  },
  {
    command: 'machine kill ID',
    steps: [
      GET_ONE,
      rest(`POST ${ONE}/signal`, ok, { body: { signal: 9 } }),
      rest(
        `GET ${ONE}`,
        has({
          events: list(has({ type: some })).refine(
            (all) =>
              all.some(
                (one) =>
                  one.type === 'exit' &&
                  has({ exit_event: has({ exit_code: int, oom_killed: is(false) }) }).safeParse(
                    one.request,
                  ).success,
              ),
            'an exit event with what ended it',
          ),
        }),
        { name: 'GET machine until it has ended', polls: true },
      ),
    ],
  },
  {
    command: 'machine destroy ID --force',
    steps: [
      GET_ONE,
      LEASE(120),
      APP_COMPACT,
      leased(`DELETE ${ONE}?kill=false`, restError(/not currently stopped/), { status: 412 }),
      leased(`DELETE ${ONE}?kill=true`, ok),
      WAIT('destroyed'),
      leased(`DELETE ${ONE}/lease`, restError(/lease not found/), { status: 404 }),
      rest(`GET ${M}/00000000000000`, restError(/machine not found/), { status: 404 }),
    ],
  },
  {
    command: 'machine create, machine destroy',
    steps: [
      rest(`POST ${M}`, has({ id: some, state: is('created') }), {
        body: launch(ofRun, { region: 'iad', skip_launch: true }),
        keep: { machine: 'id' },
      }),
      LEASE(120),
      leased(`DELETE ${ONE}?kill=false`, ok),
    ],
  },
]
