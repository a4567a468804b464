/** `npm run soak` runs the same tests for long: `long` where it is set, else `short`. */
export const IS_SOAK = process.env.FAIRWAY_SOAK === '1'
export const scaled = (short: number, long: number): number => (IS_SOAK ? long : short)
