/** English words for pages that have no translator of their own. */

import type { IWords } from '../tokens';

export const words: IWords = {
  __: (text, ...values) => filled(text, values),
  _n: (singular, plural, count, ...values) => filled(count === 1 ? singular : plural, [count, ...values])
};

/** Puts the values in the places of `%1`, `%2` …; what a value holds is not looked at. */
function filled(text: string, values: ReadonlyArray<unknown>): string {
  return text.replace(/%(\d)/g, (place, number: string) => {
    const value = values[Number(number) - 1];
    return value === undefined ? place : String(value);
  });
}
