/** REST requests to the gateway, with the page's credentials; a refusal becomes an error that says what the gateway said. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

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

export type Query = Readonly<Record<string, string | number>>;

/**
 * Returns the JSON body of the answer, undefined where there is none.
 * Throws `RequestFailed` for a refusal and `ServerConnection.NetworkError` where there is no answer.
 */
export async function request<T>(
  path: string,
  settings: ServerConnection.ISettings,
  { query = {}, ...init }: RequestInit & { readonly query?: Query } = {}
): Promise<T> {
  const url = URLExt.join(settings.baseUrl, 'jupyter-agent', 'api', path) + URLExt.objectToQueryString({ ...query });
  const response = await ServerConnection.makeRequest(url, init, settings);
  const body = parse(await response.text());
  if (!response.ok) {
    const { code, message, details } = (body ?? {}) as { code?: string; message?: string; details?: unknown };
    throw new RequestFailed(
      response.status,
      code ?? `http_${response.status}`,
      message ?? `The server answered ${response.status} ${response.statusText} to ${path}.`,
      details
    );
  }
  return body as T;
}

/** Returns every item of a list, page after page. */
export async function requestAll<T>(path: string, settings: ServerConnection.ISettings, query: Query): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | null | undefined;
  do {
    const page: IPage<T> = await request(path, settings, { query: cursor ? { ...query, cursor } : query });
    found.push(...(page.items ?? []));
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

function parse(text: string): unknown {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}
