import { otherFolders, runFolders } from './group.ts'

await runFolders(otherFolders())
