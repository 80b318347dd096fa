/**
 * The module that anywidget loads, in pages of all kinds: with our lab extension, without it, of no Jupyter server.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import WebSocket from 'ws';

import { foundRuns, publishRuns } from '../gateway';
import type { Runs } from '../runs';
import type { IRuns } from '../tokens';
import { foundWaiting, publishWaiting } from '../waiting';
import load from '../widget';
import { ApprovalsWidget } from '../widget/approvals';
import { RunWidget } from '../widget/run';
import { Person } from './deciding';
import { Journals, transcriptOf } from './journals';
import { KernelPeer } from './kernel';
import { event, pause, type Socket, until } from './peer';

const RUN = 'run_00000000000000000001';
const HERE = 'gw_here';
const STARTED = { type: 'status_change', status: 'running' };
const says = (content: string): object => ({ type: 'agent_event', event: { kind: 'text_delta', content } });
const SUMMARY = { status: 'running', turns: 2, model: '<b>demo</b>' };

interface IModule {
  initialize(context: { model: KernelPeer }): () => void;
  render(context: { model: KernelPeer; el: HTMLElement }): (() => void) | void;
}

let server: Journals;
let cleanups: (() => void)[];

beforeEach(async () => {
  server = await Journals.start();
  const answer = server.peer.onRequest;
  server.peer.onRequest = (path, query, sent) => {
    const runId = path.split('/').at(-1) ?? '';
    if (path.endsWith('/api/health')) {
      return [200, { status: 'ok', gatewayId: HERE }];
    }
    if (path.endsWith('/api/runs')) {
      const status = query.get('status');
      const runs = [...server.runs].map(([runId, events]) => transcriptOf(runId, events));
      return [200, { items: runs.filter(run => run.status === status) }];
    }
    return server.runs.has(runId) ? [200, { runId }] : answer(path, query, sent);
  };
  cleanups = [];
  Object.assign(globalThis, { WebSocket });
});

afterEach(async () => {
  cleanups.splice(0).forEach(cleanup => cleanup());
  publishRuns(null);
  publishWaiting(null);
  document.body.replaceChildren();
  await server.peer.stop();
});

/** The page says where its server is, as Jupyter's pages do; and requests go there, as if it were their origin. */
function servePage(): void {
  const config = document.createElement('script');
  config.id = 'jupyter-config-data';
  config.type = 'application/json';
  config.textContent = JSON.stringify({ baseUrl: '/', token: '' });
  document.body.append(config);
  const { url } = server.peer;
  const original = globalThis.fetch;
  globalThis.fetch = (path, init) => original(String(path).replace(/^http:\/\/localhost\//, url), { ...init });
  globalThis.WebSocket = class extends WebSocket {
    constructor(path: string) {
      super(path.replace(/^ws:\/\/localhost\//, url.replace('http', 'ws')));
    }
  } as unknown as typeof globalThis.WebSocket;
  cleanups.push(() => {
    globalThis.fetch = original;
  });
}

/** Makes the widget in a page, as anywidget does, and shows it once. */
function show(state: Record<string, unknown>): IShown {
  const kernel = new KernelPeer(state);
  const widget = load() as IModule;
  cleanups.push(widget.initialize({ model: kernel }));
  return { kernel, ...put(place => widget.render({ model: kernel, el: place }) ?? ((): void => undefined)) };
}

/** The same with other times. */
function showAt(
  times: object,
  Kind: typeof RunWidget | typeof ApprovalsWidget,
  state: object
): IShown & { again: Put } {
  const kernel = new KernelPeer({ ...state });
  const widget = new Kind(kernel, times);
  cleanups.push(() => widget.dispose());
  const again = (): ReturnType<Put> => put(place => widget.render(place));
  return { kernel, ...again(), again };
}

type Put = () => { place: HTMLElement; hide: () => void };
interface IShown extends ReturnType<Put> {
  kernel: KernelPeer;
}

function put(render: (place: HTMLElement) => () => void): ReturnType<Put> {
  const place = document.createElement('div');
  document.body.append(place);
  return { place, hide: render(place) };
}

async function reads(place: HTMLElement, text: string): Promise<void> {
  await until(() => {
    place.querySelectorAll<HTMLElement & { reveal?(): void }>('.jp-agent-Run').forEach(view => view.reveal?.());
    return place.textContent?.includes(text) ?? false;
  });
}

test('a page of the server follows the run there, over one connection for all its widgets', async () => {
  servePage();
  server.append(RUN, STARTED, says('one '));
  const [first, second] = [1, 2].map(() => show({ _kind: 'run', run_id: RUN, summary: SUMMARY }));
  await reads(first!.place, 'one');
  await reads(second!.place, 'one');
  server.append(RUN, says('two'));
  await reads(first!.place, 'one two');
  expect(server.peer.sockets.length).toBe(1);
  expect(first!.kernel.asked).toEqual([{ ask: 'unfollow' }]);
  expect(first!.kernel.listeners).toBe(0);
  expect((foundRuns() as Runs).size).toBe(1);
  first!.hide();
  await pause(1_200);
  expect((foundRuns() as Runs).size).toBe(1);
  expect(server.peer.sockets.filter(isOpen).length).toBe(1);
  second!.hide();
  await until(() => server.peer.sockets.filter(isOpen).length === 0);
  expect(foundRuns()).toBeNull();
  expect([first!.place.children.length, second!.place.children.length]).toEqual([0, 0]);
});

const isOpen = ({ raw }: Socket): boolean => raw.readyState === WebSocket.OPEN;

test('what is taken away is closed, and follows anew where it is shown again', async () => {
  servePage();
  server.append(RUN, STARTED, says('one '));
  const { place, hide, again } = showAt({ linger: 0 }, RunWidget, { run_id: RUN });
  await reads(place, 'one');
  hide();
  await until(() => server.peer.sockets.filter(isOpen).length === 0);
  server.append(RUN, says('two'));
  const second = again();
  await reads(second.place, 'one two');
  second.hide();
  const moved = again();
  await reads(moved.place, 'one two');
  await pause(50);
  expect(server.peer.sockets.map(isOpen)).toEqual([false, true]);
});

test('everything that waits is followed no longer than somebody looks', async () => {
  servePage();
  const shown = [1, 2].map(() => showAt({ linger: 0 }, ApprovalsWidget, { gateway_id: HERE }));
  await Promise.all(shown.map(({ place }) => reads(place, 'Nothing waits for you.')));
  expect(server.peer.sockets.length).toBe(1);
  expect(foundWaiting()).not.toBeNull();
  shown[0]!.hide();
  await pause(50);
  expect(server.peer.sockets.map(isOpen)).toEqual([true]);
  shown[1]!.hide();
  await until(() => !server.peer.sockets.some(isOpen));
  expect([foundRuns(), foundWaiting()]).toEqual([null, null]);
});

test('a kernel whose view is taken away is told to rest, and is asked again where the run is shown again', async () => {
  const { kernel, place, hide, again } = showAt({ linger: 0 }, RunWidget, { run_id: RUN });
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('one '))]));
  await reads(place, 'one');
  kernel.asked.splice(0);
  hide();
  await until(() => kernel.asked.length === 1);
  expect(kernel.asked).toEqual([{ ask: 'unfollow' }]);
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('unheard '))]));
  const second = again();
  await until(() => kernel.asked.length === 2);
  expect(kernel.asked[1]).toEqual({ ask: 'follow' });
  expect(second.place.textContent).not.toContain('unheard');
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('one ')), event(RUN, 3, says('two'))]));
  await reads(second.place, 'one two');
});

test('a widget that is never shown listens no longer than a moment', async () => {
  const kernel = new KernelPeer({ run_id: RUN });
  const widget = new RunWidget(kernel, { unshown: 0 });
  cleanups.push(() => widget.dispose());
  await until(() => kernel.asked.length === 1);
  expect(kernel.asked).toEqual([{ ask: 'unfollow' }]);
});

test("our lab extension's connection is used where there is one", async () => {
  server.append(RUN, STARTED, says('one'));
  const opened: string[] = [];
  const gateway = server.page();
  const { Runs: Shared } = await import('../runs');
  const runs = new Shared(gateway);
  publishRuns({ gateway, open: (id: string) => (opened.push(id), runs.open(id)) } as IRuns);
  const { place } = show({ _kind: 'run', run_id: RUN, summary: SUMMARY });
  await reads(place, 'one');
  expect(opened).toEqual([RUN]);
  cleanups.splice(0).forEach(cleanup => cleanup());
  runs.dispose();
  gateway.connection.dispose();
  publishRuns(null);
});

test("a run that is not on the page's server comes over the kernel", async () => {
  servePage();
  const { kernel, place, hide } = show({ _kind: 'run', run_id: RUN, summary: SUMMARY });
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('from '))]));
  kernel.frames(event(RUN, 3, says('the ')));
  await reads(place, 'from the');
  kernel.frames(event(RUN, 4, says('kernel')));
  await reads(place, 'from the kernel');
  await reads(place, 'Told by the kernel');
  expect(place.querySelector<HTMLElement>('.jp-agent-Run')?.dataset.source).toBe('kernel');
  expect(server.peer.requests).toEqual([`/jupyter-agent/api/runs/${RUN}?`]);
  expect(server.peer.sockets.length).toBe(0);
  expect(foundRuns()).toBeNull();
  hide();
  const again = document.createElement('div');
  expect(place.children.length).toBe(0);
  document.body.append(again);
});

test.each([401, 403, 404])('an answer of %i decides that the kernel tells', async status => {
  servePage();
  server.peer.onRequest = () => [status, { code: 'no', message: 'No.' }];
  const { kernel, place } = showAt({ firstDelay: 1, patience: 10_000 }, RunWidget, { run_id: RUN });
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('from the kernel'))]));
  await reads(place, 'from the kernel');
  await pause(50);
  expect(server.peer.requests.length).toBe(1);
});

test.each(['is not well', 'is not there', 'takes its time'])(
  'a gateway that %s is asked again while the kernel tells, and tells as soon as it answers',
  async trouble => {
    servePage();
    server.append(RUN, STARTED, says('from the gateway'));
    const [answer, ask] = [server.peer.onRequest, globalThis.fetch];
    if (trouble === 'is not well') {
      server.peer.onRequest = () => [503, { code: 'storage_unavailable', message: 'The gateway is opening.' }];
    } else {
      globalThis.fetch = (): Promise<Response> =>
        trouble === 'is not there' ? Promise.reject(new TypeError('Failed to fetch')) : new Promise(() => undefined);
    }
    const times = { patience: 10, firstDelay: 5, longestDelay: 20, answer: 20 };
    const { kernel, place } = showAt(times, RunWidget, { run_id: RUN });
    kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('from the kernel'))]));
    await reads(place, 'from the kernel');
    expect(server.peer.sockets.length).toBe(0);
    expect(kernel.asked).toEqual([]);
    server.peer.onRequest = answer;
    globalThis.fetch = ask;
    await reads(place, 'from the gateway');
    expect(place.textContent).not.toContain('from the kernel');
    expect(place.querySelectorAll('.jp-agent-Run').length).toBe(1);
    expect(kernel.asked).toEqual([{ ask: 'unfollow' }]);
    expect(kernel.listeners).toBe(0);
  }
);

test('a run goes on in its thread only where the gateway is reached, whatever the kernel may', async () => {
  const { kernel, place } = show({ _kind: 'run', run_id: RUN });
  const ended = { type: 'session_complete', status: 'completed', usage: {} };
  const run = transcriptOf(RUN, [event(RUN, 1, STARTED), event(RUN, 2, says('all')), event(RUN, 3, ended)]);
  await until(() => kernel.asked.length > 0);
  kernel.run({ ...run, threadId: 'thr_1' }, { mayDecide: true });
  await reads(place, 'all');
  const buttons = [...place.querySelectorAll('button')].filter(({ hidden }) => !hidden);
  expect(buttons.map(({ textContent }) => textContent)).not.toContain('Continue');
  expect(place.querySelector('.jp-agent-Continuation, .jp-agent-Composer')).toBeNull();
});

test('a page of no Jupyter server asks nobody but the kernel, and says what was last seen until it answers', async () => {
  server.append(RUN, STARTED);
  const { kernel, place } = show({ _kind: 'run', run_id: RUN, summary: SUMMARY });
  await reads(place, 'Last seen: Running, 2 turns.');
  expect(place.querySelector('b')).toBeNull();
  await until(() => kernel.asked.length > 0);
  kernel.run(transcriptOf(RUN, [event(RUN, 1, STARTED)]));
  await until(() => place.querySelector<HTMLElement>('.jp-agent-Widget-seen')?.hidden ?? false);
  expect(server.peer.requests).toEqual([]);
});

test.each([{}, { _kind: 'toString' }, { _kind: 'run' }, { _kind: 'run', run_id: 7, summary: [] }, { _kind: 3 }])(
  'state of unknown origin does nothing: %j',
  async state => {
    servePage();
    const { place, kernel } = show(state);
    await pause(50);
    expect(place.textContent).not.toBe('');
    expect(server.peer.requests).toEqual([]);
    expect(kernel.asked.filter(({ ask }) => ask !== 'follow')).toEqual([]);
  }
);

const APPROVAL = {
  approvalId: 'apr_1',
  runId: RUN,
  toolCallId: 'call_1',
  toolName: 'run_cell',
  arguments: '{"code": "1 + 1"}',
  effects: ['exec'],
  preview: { tool: 'run_cell', arguments: { code: '1 + 1' }, code: '1 + 1', lines: 1, hash: 'h' },
  askedAt: '2999-01-01T00:00:00Z',
  expiresAt: '2999-01-01T00:10:00Z'
};

test('what waits is only shown where the kernel tells of it', async () => {
  const { kernel, place } = show({ _kind: 'approvals', gateway_id: 'gw_elsewhere' });
  await reads(place, 'What waits for you is not known yet.');
  await reads(place, 'Told by the kernel');
  kernel.say('waiting', { text: JSON.stringify({ approvals: [APPROVAL], inputs: [] }) });
  await reads(place, 'run_cell');
  const approve = [...place.querySelectorAll('button')].filter(({ textContent }) => textContent === 'Approve');
  expect(approve.filter(({ disabled, hidden }) => !disabled && !hidden)).toEqual([]);
  kernel.say('waiting', { text: JSON.stringify({ approvals: [], inputs: [] }) });
  await reads(place, 'Nothing waits for you.');
  kernel.emit('comm_live_update');
  await reads(place, 'The kernel that fed this view is gone');
});

const WONDERED = { requestId: 'inp_1', runId: RUN, prompt: 'Which sheet?' };

test('what waits is decided and answered over a kernel that may', async () => {
  const { kernel, place } = show({ _kind: 'approvals', gateway_id: '' });
  await until(() => kernel.asked.length > 0);
  kernel.asked.splice(0);
  kernel.onAsked = ({ clientId }) => kernel.answer(clientId, { result: null });
  kernel.say('waiting', { text: JSON.stringify({ approvals: [APPROVAL], inputs: [] }), mayDecide: true });
  await reads(place, 'run_cell');
  const person = new Person(place);
  person.press('Reject');
  person.press('Reject it');
  await until(() => person.status === 'You rejected it.');
  kernel.say('waiting', { text: JSON.stringify({ approvals: [], inputs: [WONDERED] }), mayDecide: true });
  await reads(place, 'Which sheet?');
  const card = [...place.querySelectorAll<HTMLElement>('.jp-agent-Decision')].at(-1) as HTMLElement;
  const asked = new Person(card);
  asked.write(card.querySelector('textarea'), 'The first.');
  asked.press('Answer');
  await until(() => kernel.asked.length === 2);
  expect(kernel.asked.map(({ command }) => command)).toEqual([
    { type: 'tool_confirmation', runId: RUN, toolCallId: 'call_1', approvalId: 'apr_1', approved: false },
    { type: 'user_input', runId: RUN, requestId: 'inp_1', content: 'The first.' }
  ]);
});

test('what waits is decided where the page reaches the gateway, also what came after the widget', async () => {
  servePage();
  const { kernel, place } = show({ _kind: 'approvals', gateway_id: HERE });
  await reads(place, 'Nothing waits for you.');
  server.append(RUN, STARTED, {
    ...{ type: 'tool_confirmation_request', approvalId: 'apr_1', toolCallId: 'call_1', effects: ['exec'] },
    ...{ tool: { identifier: 'run_cell', apiName: 'run_cell', name: 'run_cell', arguments: '{}' } },
    ...{ preview: APPROVAL.preview, expiresAt: APPROVAL.expiresAt }
  });
  const status = 'waiting_confirmation';
  server.peer.sockets[0]?.say({ type: 'run_changed', runId: RUN, threadId: 'thr_a', change: 'status', status });
  await reads(place, 'run_cell');
  expect([...place.querySelectorAll('button')].some(({ textContent }) => textContent === 'Approve')).toBe(true);
  expect(kernel.asked).toEqual([{ ask: 'unfollow' }]);
});

test('keys that are pressed anywhere in a widget are not for the notebook around it', async () => {
  const { kernel, place } = show({ _kind: 'approvals', gateway_id: '' });
  const another = { ...APPROVAL, approvalId: 'apr_2' };
  await until(() => kernel.asked.length > 0);
  kernel.say('waiting', { text: JSON.stringify({ approvals: [APPROVAL, another], inputs: [] }), mayDecide: true });
  await reads(place, '1 more waits');
  const more = place.querySelector('.jp-agent-Dock-more') as HTMLElement;
  const dock = place.querySelector('.jp-agent-Dock') as HTMLElement;
  const outside = document.createElement('button');
  document.body.append(outside);
  for (const target of [more, dock, new Person(place).button('Reject'), outside]) {
    target.dispatchEvent(new KeyboardEvent('keydown', { key: 'd', bubbles: true }));
    expect(target.hasAttribute('data-lm-suppress-shortcuts')).toBe(target !== outside);
  }
});
