/**
 * The gateway of the server that a page comes from: its socket, its requests, its blobs.
 *
 * Rules:
 * - Nothing else than that server is ever asked, whatever a notebook or a run says.
 * - Requests carry what the page's own do: the cookie, its XSRF token, and the server's token where the page has one.
 */

import { Connection } from './connection';
import { type Query, RequestFailed } from './request';
import type { IConnection, IGateway, IRuns } from './tokens';

/** Where a page's server is, and how it is reached from there. */
export interface IServer {
  /** The server's address with `http`, ending in a slash. */
  readonly baseUrl: string;
  /** The same with `ws`. */
  readonly wsUrl: string;
  /** The server's token, asked for each time; empty where the page's cookie counts. */
  readonly token: () => string;
  /** The page's cookies, as `document.cookie` has them. */
  readonly cookie?: () => string;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  readonly WebSocket?: typeof WebSocket;
}

const ROOT = 'jupyter-agent';
const BYTES = 'application/octet-stream';
const DIGEST = /^[0-9a-f]{64}$/;

/** Clocks that differ by less, in milliseconds, are taken to agree. */
const CLOCK_GRAIN = 2_500;

/** Pictures that hold nothing but pixels. */
const PIXELS: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

export class PageGateway implements IGateway {
  constructor(
    private readonly _server: IServer,
    readonly connection: IConnection = connectionTo(_server)
  ) {}

  readonly mayDecide = true;
  readonly teller = 'gateway';

  get now(): number {
    return Date.now() + this._ahead;
  }

  async request<T>(path: string, init: RequestInit & { readonly query?: Query } = {}): Promise<T> {
    const response = await this._answer(path, init);
    const text = await response.text();
    try {
      return (text ? JSON.parse(text) : undefined) as T;
    } catch {
      // A page to sign in is what a server shows instead that does not know the user any more.
      const what = `The server answered ${path} with something that is no JSON.`;
      throw new RequestFailed(response.status, 'not_json', `${what} Reload the page, and sign in again if it asks.`);
    }
  }

  async blob(digest: string): Promise<Blob> {
    if (!DIGEST.test(digest)) {
      throw new RequestFailed(404, 'blob_not_found', `${digest.slice(0, 64)} does not name a blob.`);
    }
    const response = await this._answer(`blobs/${digest}`, {});
    const type = response.headers.get('Content-Type')?.split(';')[0]?.trim().toLowerCase() ?? '';
    return new Blob([await response.arrayBuffer()], { type: PIXELS.has(type) ? type : BYTES });
  }

  /** Returns an answer that is no refusal. Throws `RequestFailed` for one that is, and what the network said. */
  private async _answer(path: string, { query = {}, ...init }: RequestInit & { query?: Query }): Promise<Response> {
    const { baseUrl, fetch: ask = (url: string, init: RequestInit) => fetch(url, init) } = this._server;
    const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString();
    const url = `${baseUrl}${ROOT}/api/${path}${search && `?${search}`}`;
    const headers = this._headers(init);
    const response = await ask(url, { cache: 'no-store', credentials: 'same-origin', ...init, headers });
    this._readClock(response);
    if (!response.ok) {
      throw refusal(path, response, await response.text());
    }
    return response;
  }

  /** Every answer tells the server's time, to the second and some time ago: a small difference is none. */
  private _readClock({ headers }: Response): void {
    const told = Date.parse(headers.get('Date') ?? '');
    if (Math.abs(told - this.now) > CLOCK_GRAIN) {
      this._ahead = told - Date.now();
    }
  }

  private _headers(init: RequestInit): Record<string, string> {
    const token = this._server.token();
    const xsrf = cookie('_xsrf', this._server.cookie?.() ?? '');
    return {
      ...(typeof init.body === 'string' ? { 'Content-Type': 'application/json' } : {}),
      ...Object.fromEntries(new Headers(init.headers)),
      ...(token ? { Authorization: `token ${token}` } : {}),
      ...(xsrf ? { 'X-XSRFToken': xsrf } : {})
    };
  }

  /** How far the server's clock is ahead of this page's, in milliseconds. */
  private _ahead = 0;
}

/** Returns the connection to a server's gateway. Nothing is connected to before it is asked to. */
export function connectionTo({ wsUrl, token, WebSocket }: IServer): Connection {
  return new Connection({ url: `${wsUrl}${ROOT}/ws`, token, ...(WebSocket ? { WebSocket } : {}) });
}

/**
 * Returns the gateway of the server that serves this page, or null for a page that no Jupyter server serves.
 *
 * A server says in its pages where it is. What says so at another origin than the page's own was not the server.
 */
export function pageGateway(page: Document): PageGateway | null {
  const element = page.getElementById('jupyter-config-data');
  const config = element?.tagName === 'SCRIPT' ? parse(element.textContent ?? '') : null;
  const { baseUrl, token } = (config ?? {}) as { baseUrl?: unknown; token?: unknown };
  const base = typeof baseUrl === 'string' ? addressOf(baseUrl, page.location.href) : null;
  if (base?.origin !== page.location.origin || !base.protocol.startsWith('http')) {
    return null;
  }
  const { href } = base;
  return new PageGateway({
    baseUrl: href,
    wsUrl: href.replace(/^http/, 'ws'),
    token: () => (typeof token === 'string' ? token : ''),
    cookie: () => page.cookie
  });
}

/** Under this name the runs of a page are found by every module in it, so that all its views share one connection. */
const PUBLISHED = Symbol.for('jupyter_agent.runs');

export function publishRuns(runs: IRuns | null): void {
  (globalThis as Record<symbol, unknown>)[PUBLISHED] = runs;
}

/** Returns the runs that another module of this page follows, or null. */
export function foundRuns(): IRuns | null {
  const found = (globalThis as Record<symbol, unknown>)[PUBLISHED] as IRuns | null | undefined;
  return typeof found?.open === 'function' ? found : null;
}

/** Returns the address of a folder, or null for what is no address. */
function addressOf(folder: string, from: string): URL | null {
  try {
    return new URL(folder.endsWith('/') ? folder : `${folder}/`, from);
  } catch {
    return null;
  }
}

function refusal(path: string, { status, statusText }: Response, text: string): RequestFailed {
  const { code, message, details } = (parse(text) ?? {}) as { code?: string; message?: string; details?: unknown };
  return new RequestFailed(
    status,
    code ?? `http_${status}`,
    message ?? `The server answered ${status} ${statusText} to ${path}.`,
    details
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns the last cookie of the name: of several, that is the one which the server takes. */
function cookie(name: string, cookies: string): string | undefined {
  const values = cookies.split(';').map(pair => pair.trim().split('='));
  return values
    .findLast(([key]) => key === name)
    ?.slice(1)
    .join('=');
}
