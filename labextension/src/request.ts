/** What the gateway answers to requests: its refusals as an error that says what it said, and its lists as a whole. */

import type { IGateway } from './tokens';

/** A page of a list; `nextCursor` is absent on the last. */
export interface IPage<T> {
  readonly items?: ReadonlyArray<T>;
  readonly nextCursor?: string | null;
}

/** The gateway, or the server before it, refused a request. `code` is the gateway's word, or `http_<status>`. */
export class RequestFailed extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: unknown = undefined
  ) {
    super(message);
    this.name = 'RequestFailed';
  }
}

/** Returns the gateway's word for a fault, or null. A fault may come from another module of the page, with its own classes. */
export function codeOf(fault: unknown): string | null {
  const code: unknown = typeof fault === 'object' && fault !== null ? Reflect.get(fault, 'code') : null;
  return typeof code === 'string' ? code : null;
}

/** Returns the status with which the server refused, or null; for the same reason not by the fault's class. */
export function statusOf(fault: unknown): number | null {
  const status: unknown = fault instanceof Error ? Reflect.get(fault, 'status') : null;
  return typeof status === 'number' ? status : null;
}

/** Returns what a fault says, whatever was thrown. */
export function words(fault: unknown): string {
  return fault instanceof Error ? fault.message : String(fault);
}

export type Query = Readonly<Record<string, string | number>>;

/** Returns every item of a list, page after page. */
export async function requestAll<T>(path: string, gateway: IGateway, query: Query): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | null | undefined;
  do {
    const page: IPage<T> = await gateway.request(path, { query: cursor ? { ...query, cursor } : query });
    found.push(...(page.items ?? []));
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}
