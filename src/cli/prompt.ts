import { confirm as ask, isCancel } from '@clack/prompts'
import { cancelled } from './errors.ts'

/** Yes, or the command ends as cancelled. Only where a person sits at the terminal. */
export async function confirm(message: string): Promise<void> {
  const answer = await ask({ message, initialValue: false, output: process.stderr })
  if (isCancel(answer) || !answer) throw cancelled()
}
