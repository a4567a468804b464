import { arch, platform } from 'node:process'
import type { Command } from 'commander'
import { VERSION } from '../../base/version.ts'
import type { Io } from '../io.ts'
import { action, type Session } from '../session.ts'

const VIEWER = `query { viewer { ... on User { id email enablePaidHobby } ... on Macaroon { email } } }`

export function registerAuth(program: Command, io: Io): void {
  const auth = program.command('auth').description('Who you are to the API')
  auth.command('whoami').description('Show your e-mail address').action(action(io, whoami))
  auth
    .command('token')
    .description('Print the token that is used')
    .action(
      action(io, (session) => {
        const { token } = session.client.endpoint
        if (session.wantsJson) session.printJson({ token })
        else session.print(token)
      }),
    )
}

async function whoami(session: Session): Promise<void> {
  const { viewer } = await session.client.graphql<{ viewer: { email: string } }>(VIEWER)
  if (session.wantsJson) session.printJson({ email: viewer.email })
  else session.print(viewer.email)
}

const ARCHITECTURES: Record<string, string> = { x64: 'amd64' }

export function registerVersion(program: Command, io: Io): void {
  program
    .command('version')
    .description('Show the version')
    .action(
      action(io, (session) => {
        const architecture = ARCHITECTURES[arch] ?? arch
        if (!session.wantsJson)
          return session.print(`fairway v${VERSION} ${platform}/${architecture}`)
        session.printJson({
          Name: 'fairway',
          Version: VERSION,
          Commit: '',
          BranchName: '',
          BuildDate: '',
          OS: platform,
          Architecture: architecture,
          Environment: 'development',
        })
      }),
    )
}
