import type { ApiRelease } from './api-types.ts'
import type { Session } from './session.ts'

export interface NewRelease {
  readonly definition: unknown
  readonly image: string
  readonly strategy: string
}

/** Records a release and marks it as running; its version goes into the machines' metadata. */
export async function beginRelease(session: Session, release: NewRelease): Promise<ApiRelease> {
  const body = {
    app_name: session.app,
    build_id: 0,
    definition: release.definition,
    image: release.image,
    strategy: release.strategy.toUpperCase(),
  }
  const { release: made } = await session.client.post<{ release: ApiRelease }>(
    '/api/v1/releases',
    body,
  )
  await setReleaseStatus(session, made.id, 'running')
  return made
}

export async function setReleaseStatus(
  session: Session,
  id: string,
  status: 'running' | 'complete' | 'failed' | 'interrupted',
): Promise<void> {
  const path = `/api/v1/releases/${encodeURIComponent(id)}`
  const body = { status, metadata: null }
  // How it ended is to be recorded also when the person has interrupted.
  const cleanUp = status !== 'running'
  await session.client.request('PATCH', path, { body, cleanUp })
}

const CONFIG_RELEASE = `query FlyctlConfigCurrentRelease($appName: String!) { app(name: $appName) {
  currentReleaseUnprocessed { id version imageRef configDefinition createdAt } } }`

export interface CurrentRelease {
  readonly id: string
  readonly version: number
  readonly imageRef: string
  readonly createdAt: string
  /** The fly.toml of the release, as JSON. */
  readonly configDefinition: Record<string, unknown> | null
}

/** The newest release, however it ended; null when there is none. */
export async function currentRelease(session: Session): Promise<CurrentRelease | null> {
  const { app } = await session.client.graphql<{
    app: { currentReleaseUnprocessed: CurrentRelease | null }
  }>(CONFIG_RELEASE, { appName: session.app })
  return app.currentReleaseUnprocessed
}

/** So far back a complete release is looked for. */
export const RELEASES_MAX = 50

const RELEASES = `query($appName: String!, $limit: Int!) { app(name: $appName) {
  releases: releasesUnprocessed(first: $limit) { nodes {
    id version status imageRef configDefinition createdAt } } } }`

/** The newest release that ended well, which is what the app runs; null when there is none. */
export async function completeRelease(session: Session): Promise<CurrentRelease | null> {
  const variables = { appName: session.app, limit: RELEASES_MAX }
  const { app } = await session.client.graphql<{
    app: { releases: { nodes: readonly (CurrentRelease & { status: string })[] } }
  }>(RELEASES, variables)
  return app.releases.nodes.find(({ status }) => status === 'complete') ?? null
}
