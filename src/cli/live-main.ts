import { text } from 'node:stream/consumers'
import { type LiveQuestion, liveRequest } from './live-request.ts'

/** Makes the request that is asked for on standard input, where a token is seen by nobody. */
const question = JSON.parse(await text(process.stdin)) as LiveQuestion
process.stdout.write(JSON.stringify(await liveRequest(question)))
