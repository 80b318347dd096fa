/**
 * The gateway of a page: what is sent, what comes back, and which pages have one.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { CommandRegistry } from '@lumino/commands';

import { foundRuns, type IServer, PageGateway, pageGateway, publishRuns } from '../gateway';
import { serverOf } from '../plugins/server';
import type { Run } from '../protocol';
import { RequestFailed, requestAll } from '../request';
import { IConnection, IRuns } from '../tokens';
import { activateAll, settingsFor } from './page';
import { Peer, until } from './peer';

const DIGEST = 'a'.repeat(64);
const SVG = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>';

let peer: Peer;
let server: IServer;

beforeEach(async () => {
  peer = await Peer.start();
  server = { baseUrl: peer.url, wsUrl: peer.url.replace('http', 'ws'), token: () => '' };
});

afterEach(async () => {
  await peer.stop();
});

/** Answers everything with this status, these headers and this body, and returns the headers that came. */
function answer(status: number, body: string, headers: Record<string, string> = {}): Record<string, string>[] {
  const came: Record<string, string>[] = [];
  const { fetch } = globalThis;
  server = {
    ...server,
    fetch: async (url, init) => {
      came.push(Object.fromEntries(new Headers(init.headers)));
      await fetch(url, init);
      return new Response(body, { status, headers });
    }
  };
  return came;
}

test("the time is the server's as soon as it has answered, and until then the page's own", async () => {
  const past = Date.now() - 540_000;
  answer(200, '{}', { Date: new Date(past).toUTCString() });
  const gateway = new PageGateway(server);
  expect(Math.abs(gateway.now - Date.now())).toBeLessThan(1_000);
  await gateway.request('runs');
  expect(Math.abs(gateway.now - past)).toBeLessThan(5_000);
});

test.each([
  ['that is none', (): string => 'yesterday'],
  ['of a second ago', (): string => new Date(Date.now() - 1_000).toUTCString()]
])('a time %s changes nothing', async (_, told) => {
  answer(200, '{}', { Date: told() });
  const gateway = new PageGateway(server);
  await gateway.request('runs');
  expect(Math.abs(gateway.now - Date.now())).toBeLessThan(100);
});

describe.each([
  ['of a plain page', (): PageGateway => new PageGateway(server)],
  ['of a page of JupyterLab', (): PageGateway => new PageGateway(serverOf(settingsFor(peer)))]
])('a request %s', (_, make) => {
  it('goes to the gateway under the base address, with its query and body', async () => {
    const posted: unknown[] = [];
    peer.onRequest = (_path, _query, sent) => [200, { sent: posted.push(sent) }];
    await expect(make().request('runs', { query: { status: 'running', limit: 2 } })).resolves.toEqual({ sent: 1 });
    await make().request('approvals/apr_1', { method: 'POST', body: '{"approved": true}' });
    expect(peer.requests[0]).toBe('/jupyter-agent/api/runs?status=running&limit=2');
    expect(posted).toEqual([undefined, { approved: true }]);
  });

  it('that is refused says what the gateway said', async () => {
    const refusal = { code: 'thread_busy', message: 'The thread has a run.', details: { runId: 'run_a' } };
    peer.onRequest = () => [409, refusal];
    const failed: unknown = await make()
      .request('runs')
      .catch((fault: unknown) => fault);
    expect(failed).toBeInstanceOf(RequestFailed);
    expect(failed).toMatchObject({ status: 409, ...refusal });
  });

  it('that another than the gateway refused names the status', async () => {
    peer.onRequest = () => [502, '<html>Bad gateway</html>'];
    await expect(make().request('runs')).rejects.toThrow(/502.*runs/);
  });

  it('without a body has none', async () => {
    peer.onRequest = () => [204, ''];
    await expect(make().request('runs/run_a')).resolves.toBeUndefined();
  });

  it('that is answered with a page to sign in says so', async () => {
    peer.onRequest = () => [200, '<html>Sign in</html>'];
    await expect(make().request('runs')).rejects.toMatchObject({ code: 'not_json', status: 200 });
  });

  it('that nobody answers fails as the network says', async () => {
    const gateway = make();
    await peer.stop();
    await expect(gateway.request('runs')).rejects.toThrow();
  });

  it('for a list goes on to its last page', async () => {
    peer.onRequest = (_path, query) =>
      query.get('cursor') ? [200, { items: [2] }] : [200, { items: [1], nextCursor: 'next' }];
    await expect(requestAll<Run>('runs', make(), { limit: 1 })).resolves.toEqual([1, 2]);
  });
});

describe('credentials', () => {
  it('are the cookie, its XSRF token, and the server token where there is one', async () => {
    const came = answer(200, '{}');
    await new PageGateway({ ...server, cookie: () => 'a=b; _xsrf=old; _xsrf=2|x=y; c' }).request('runs');
    await new PageGateway({ ...server, token: () => 'secret' }).request('runs', { headers: { 'X-Own': '1' } });
    await new PageGateway(server).request('runs', { method: 'POST', body: '{}' });
    expect(came).toEqual([
      { 'x-xsrftoken': '2|x=y' },
      { authorization: 'token secret', 'x-own': '1' },
      { 'content-type': 'application/json' }
    ]);
  });

  it('are asked for each time', async () => {
    const came = answer(200, '{}');
    let token = 'old';
    const gateway = new PageGateway({ ...server, token: () => token });
    await gateway.request('runs');
    token = 'new';
    await gateway.request('runs');
    expect(came.map(({ authorization }) => authorization)).toEqual(['token old', 'token new']);
  });

  it('of JupyterLab go with its requests', async () => {
    const headers: (string | null)[] = [];
    const settings = settingsFor(peer);
    const fetch = (request: Request): Promise<Response> => {
      headers.push(request.headers.get('Authorization'), request.cache);
      return globalThis.fetch(request);
    };
    peer.onRequest = () => [200, {}];
    await new PageGateway(serverOf({ ...settings, fetch: fetch as typeof settings.fetch })).request('runs');
    expect(headers).toEqual(['token secret', 'no-store']);
  });
});

describe('a blob', () => {
  it.each([
    ['image/png', 'image/png'],
    ['image/jpeg; q=1', 'image/jpeg'],
    ['image/svg+xml', 'application/octet-stream'],
    ['text/html', 'application/octet-stream'],
    ['', 'application/octet-stream']
  ])('of type %j has type %j', async (type, expected) => {
    answer(200, SVG, { 'Content-Type': type });
    const blob = await new PageGateway(server).blob(DIGEST);
    expect(blob.type).toBe(expected);
    expect(blob.size).toBe(SVG.length);
    expect(peer.requests).toEqual([`/jupyter-agent/api/blobs/${DIGEST}?`]);
  });

  it.each(['../runs', '', DIGEST.toUpperCase(), `${DIGEST}/x`])(
    'that %j does not name is not asked for',
    async name => {
      await expect(new PageGateway(server).blob(name)).rejects.toMatchObject({ status: 404 });
      expect(peer.requests).toEqual([]);
    }
  );

  it('that is not there says so', async () => {
    await expect(new PageGateway(server).blob(DIGEST)).rejects.toThrow('There is nothing here.');
  });
});

describe('a page', () => {
  const origin = location.origin;

  function write(config: unknown, tag = 'script'): void {
    const element = document.createElement(tag);
    element.id = 'jupyter-config-data';
    element.setAttribute('type', 'application/json');
    element.textContent = typeof config === 'string' ? config : JSON.stringify(config);
    document.body.replaceChildren(element);
  }

  /** The address that is asked when something is. */
  async function asked(): Promise<string | undefined> {
    const urls: string[] = [];
    const { fetch } = globalThis;
    globalThis.fetch = (url => {
      urls.push(String(url));
      return Promise.resolve(new Response('{}'));
    }) as typeof fetch;
    try {
      await pageGateway(document)?.request('runs');
    } finally {
      globalThis.fetch = fetch;
    }
    return urls[0];
  }

  afterEach(() => document.body.replaceChildren());

  it.each([
    ['/', '/'],
    ['/user/ann/', '/user/ann/'],
    ['/user/ann', '/user/ann/'],
    [`${origin}/hub/`, '/hub/']
  ])('that a server serves at %s has its gateway', async (baseUrl, path) => {
    write({ baseUrl, wsUrl: 'wss://evil.example/', token: 'secret' });
    expect(await asked()).toBe(`${origin}${path}jupyter-agent/api/runs`);
  });

  it('connects to its own server alone, when it is asked to', () => {
    const opened: string[] = [];
    const { WebSocket } = globalThis;
    globalThis.WebSocket = class {
      constructor(url: string) {
        opened.push(url);
      }
      close(): void {
        return;
      }
    } as unknown as typeof WebSocket;
    write({ baseUrl: '/user/ann/', wsUrl: 'wss://evil.example/' });
    const gateway = pageGateway(document);
    expect(opened).toEqual([]);
    gateway?.connection.connect();
    gateway?.connection.dispose();
    globalThis.WebSocket = WebSocket;
    expect(opened).toEqual([`${origin.replace('http', 'ws')}/user/ann/jupyter-agent/ws`]);
  });

  it.each([
    [{ baseUrl: 'https://evil.example/' }],
    [{ baseUrl: '//evil.example/' }],
    [{ baseUrl: 'javascript:alert(1)' }],
    [{ baseUrl: 'data:text/html,x' }],
    [{ baseUrl: 'http://[' }],
    [{ baseUrl: 7 }],
    [{}],
    ['no JSON'],
    ['null'],
    ['']
  ])('that says %j has none', config => {
    write(config);
    expect(pageGateway(document)).toBeNull();
  });

  it('in which something else than a script says where the server is has none', () => {
    write({ baseUrl: '/' }, 'div');
    expect(pageGateway(document)).toBeNull();
    document.body.replaceChildren();
    expect(pageGateway(document)).toBeNull();
  });
});

it('finds the runs that the lab extension follows', async () => {
  const service = activateAll(peer, new CommandRegistry(), new Map());
  expect(foundRuns()).toBe(service(IRuns));
  expect(service(IRuns).gateway.connection).toBe(service(IConnection));
  await until(() => service(IConnection).state === 'open');
  service(IConnection).dispose();
  publishRuns(null);
});

it('finds the runs that another module of the page published', () => {
  expect(foundRuns()).toBeNull();
  const runs = { gateway: new PageGateway(server), open: () => undefined } as unknown as IRuns;
  publishRuns(runs);
  expect(foundRuns()).toBe(runs);
  publishRuns(null);
  expect(foundRuns()).toBeNull();
  (globalThis as Record<symbol, unknown>)[Symbol.for('jupyter_agent.runs')] = { open: 'no function' };
  expect(foundRuns()).toBeNull();
});
