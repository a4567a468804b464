import { parentPort, workerData } from 'node:worker_threads'
import { serve } from './serve.ts'

serve(parentPort!, workerData)
