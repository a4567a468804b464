/**
 * Loaded into each process of unit tests (scripts/bootstrap.mjs): ends one that something keeps alive
 * long after its tests, such as a test that was given up and still waits. Node's own limits are for tests.
 */
const FILE_MS_MAX = 15 * 60_000

// Set in the runner's children alone.
if (process.env.NODE_TEST_CONTEXT)
  setTimeout(() => {
    console.error(`${process.argv[1]}: still running after ${FILE_MS_MAX / 60_000} min; ended`)
    process.exit(1)
  }, FILE_MS_MAX).unref()

export {}
