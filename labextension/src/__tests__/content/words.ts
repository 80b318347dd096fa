/** English for tests, and numbers that are random and the same each time. */

import type { IWords } from '../../tokens';

export const words: IWords = {
  __: (text, ...values) => fill(text, values),
  _n: (singular, plural, count, ...values) => fill(count === 1 ? singular : plural, [count, ...values])
};

function fill(text: string, values: ReadonlyArray<unknown>): string {
  return text.replace(/%(\d)/g, (_, index: string) => String(values[Number(index) - 1]));
}

/** Returns a source of numbers between 0 and 1 (mulberry32). */
export function random(seed: number): () => number {
  let state = seed + 0x6d2b79f5;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
