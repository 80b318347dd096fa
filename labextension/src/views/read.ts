/**
 * What a view is told, or what a notebook kept of it, is data of unknown origin: every value is looked at before it is used.
 */

export type Fields = Readonly<Record<string, unknown>>;

export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

export function listOf(value: unknown): ReadonlyArray<unknown> {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Returns a text, or null. */
export function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

/** Returns a finite number, or null. */
export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** Returns a whole number of things, never less than none, nor so many that one more would be as many. */
export function countOf(value: unknown): number {
  return Math.max(0, Math.min(Number.MAX_SAFE_INTEGER, Math.trunc(numberOf(value) ?? 0)));
}

/** Returns a time as people write it, to the second: an ISO text without its T, its fraction, and UTC's offset. */
export function moment(text: string): string {
  return text.replace('T', ' ').replace(/\.\d+|\+00:00$/g, '');
}
