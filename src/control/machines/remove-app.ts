import { keys } from '../../model/keys.ts'
import type { App } from '../../model/resources.ts'
import { appFor } from '../access.ts'
import { deleteApp } from '../apps.ts'
import type { Actor } from '../context.ts'
import type { Read } from '../transact.ts'
import { destroyMachinesOf } from './actions.ts'
import type { MachineControl } from './context.ts'
import { waitMachine } from './wait.ts'

/** How long the deletion of an app waits for hosts to have taken its machines away. */
export const REMOVE_WAIT_MAX_MS = 5_000

/**
 * Destroys an app's machines and deletes the app. Machines on a host that does not answer are taken
 * away when it does; the app is gone at once.
 */
export async function removeApp(
  control: MachineControl,
  actor: Actor,
  name: string,
): Promise<void> {
  const app = await appFor(control, actor, name)
  const isSame = async (read: Read) => (await read.get<App>(keys.app(name)))?.id === app.id
  const machines = await destroyMachinesOf(control, app, isSame)
  const signal = AbortSignal.timeout(REMOVE_WAIT_MAX_MS)
  await Promise.all(
    machines.map((machine) =>
      waitMachine(control, actor, {
        app: name,
        machine,
        states: ['destroyed'],
        timeoutMs: REMOVE_WAIT_MAX_MS,
        signal,
      }).catch(() => undefined),
    ),
  )
  await deleteApp(control, actor, name, app.id)
}
