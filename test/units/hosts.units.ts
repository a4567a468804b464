import { GROUPS, runFolders } from './group.ts'

await runFolders(GROUPS.hosts!)
