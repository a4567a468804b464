import { parentPort, workerData } from 'node:worker_threads'
import { keepCompiled } from '../../base/compiled.ts'
import { serve } from './serve.ts'

serve(parentPort!, workerData)
keepCompiled()
