/** How much there is in some JSON of unknown origin, before anybody goes through it. */

/** Tells whether all the texts and values in some JSON are no more than this. It does not look further. */
export function isWithin(value: unknown, most: number): boolean {
  const left = [value];
  let size = 0;
  while (left.length > 0 && size <= most) {
    const one = left.pop();
    size += typeof one === 'string' ? one.length : 1;
    const parts: unknown[] = typeof one === 'object' && one !== null ? Object.values(one) : [];
    if (size + left.length + parts.length > most) {
      return false;
    }
    parts.forEach(part => left.push(part));
  }
  return size <= most;
}
