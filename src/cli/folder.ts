import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import { imageRef, packFolder } from './artifact.ts'
import { bytesText } from './output.ts'
import type { Session } from './session.ts'

/** Packs a folder and sends it unless the API has it; returns the image reference to run. */
export async function uploadFolder(session: Session, folder: string): Promise<string> {
  const artifact = await session.during(`Packing ${folder}`, packFolder(folder))
  try {
    const files = artifact.entries === 1 ? '1 entry' : `${artifact.entries} entries`
    const size = `${files}, ${bytesText(artifact.bytes)}`
    for (const path of artifact.skipped) session.note(`Warning: left out ${path}: not a file.`)
    const digest = `sha256:${artifact.digestHex}`
    if (await session.client.exists(session.appPath('artifacts', digest))) {
      session.note(`The folder is already uploaded (${size})`)
    } else {
      const path = session.appPath('artifacts')
      const sent = session.client.upload(path, { digest }, artifact.file, artifact.bytes)
      await session.during(`Uploading ${bytesText(artifact.bytes)}`, sent)
      session.note(`Uploaded the folder (${size})`)
    }
    return imageRef(session.app, artifact.digestHex)
  } finally {
    await artifact.remove()
  }
}

/** A folder is packed; an artifact's reference is taken as it is; any other image is not run yet. */
export async function resolveImage(session: Session, image: string): Promise<string> {
  const path = resolve(session.io.cwd, image)
  if (existsSync(path) && statSync(path).isDirectory()) return uploadFolder(session, path)
  if (/@?sha256:[0-9a-f]{64}$/.test(image)) return image
  throw new FairwayError(
    'unsupported_image',
    `"${image}" is neither a folder nor an artifact: images of a registry cannot be run yet. ` +
      'Give a folder, such as `fairway machine run ./app -- node server.js`.',
  )
}
