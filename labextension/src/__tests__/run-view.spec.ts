/**
 * The view of a run on a page: kept, live, stopped, decided, freed; over real requests and sockets.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { FAREWELL } from '../decisions/dock';
import type { PageGateway } from '../gateway';
import { Runs } from '../runs';
import { RunView } from '../view/run-view';
import { words } from '../widget/words';
import { Person } from './deciding';
import { Journals } from './journals';
import { pause, until } from './peer';

const RUN = 'run_00000000000000000001';
const STARTED = {
  type: 'run_started',
  threadId: 'thr_a',
  userId: 'owner',
  agent: 'default',
  model: 'demo',
  input: [{ type: 'text', text: 'Sum it up' }]
};
const RUNNING = { type: 'status_change', status: 'running' };
const ENDED = { type: 'session_complete', status: 'completed', usage: { inputTokens: 1200, outputTokens: 34 } };
const ASKED = {
  type: 'tool_confirmation_request',
  toolCallId: 'call_1',
  tool: { identifier: 'run_cell', apiName: 'run_cell', name: 'run_cell', arguments: '{}' },
  approvalId: 'apr_1',
  expiresAt: '2999-01-01T00:10:00Z',
  effects: ['exec'],
  preview: { code: '1 + 1' }
};
const KEPT = {
  runId: RUN,
  status: 'waiting_confirmation',
  model: 'demo',
  prompt: 'Sum it up',
  turns: [{ turn: 0, text: 'It **was** so.', toolCalls: [{ toolCallId: 'c', name: 'list_files', arguments: '{}' }] }],
  waiting: [{ kind: 'approval', what: 'run_cell' }],
  approvals: [{ approvalId: 'apr_planted', toolName: 'rm', arguments: '{}', preview: {}, effects: [] }]
};

const said = (content: string): object => ({ type: 'agent_event', event: { kind: 'text_delta', content } });

let server: Journals;
let gateway: PageGateway;
let runs: Runs;
let view: RunView;

/** Puts a view on the page, where somebody sees it. */
function show(options: { saved?: unknown; runs?: Runs | null; runId?: string } = {}): RunView {
  view = new RunView({ words, runId: RUN, runs, ...options });
  document.body.append(view.node);
  (view.node as HTMLElement & { reveal(): void }).reveal();
  return view;
}

const shown = (): string => view.node.textContent ?? '';
const notices = (): string[] =>
  [...view.node.querySelectorAll('.jp-agent-Run-notice')].map(({ textContent }) => textContent ?? '');
const button = (name: string): HTMLButtonElement | undefined =>
  [...view.node.querySelectorAll('button')].find(({ textContent, hidden }) => textContent === name && !hidden);

beforeEach(async () => {
  server = await Journals.start();
  gateway = server.page();
  gateway.connection.connect();
  runs = new Runs(gateway, { tell: 1 });
});

afterEach(async () => {
  view?.dispose();
  runs.dispose();
  gateway.connection.dispose();
  await server.peer.stop();
});

test('a copy tells its story, says what it is, and lets nobody act', () => {
  show({ saved: KEPT, runs: null });
  expect(view.node.dataset.source).toBe('copy');
  expect(view.node.querySelector('strong')?.textContent).toBe('was');
  expect(notices()).toEqual([
    'Saved copy',
    'Partial: the run was still going when this was saved.',
    'It waited for approval of: run_cell'
  ]);
  expect(view.node.querySelector('.jp-agent-Decision')).toBeNull();
  expect([button('Stop'), button('Continue'), button('Approve')]).toEqual([undefined, undefined, undefined]);
});

test('a run that the gateway knows is live: it streams, ends, and says so once', async () => {
  server.append(RUN, STARTED, RUNNING, said('One '));
  show({ saved: KEPT });
  expect(view.node.dataset.source).toBe('copy');
  let ends = 0;
  view.ended.connect(() => (ends += 1));
  await until(() => view.node.dataset.source === 'gateway' && shown().includes('One'));
  expect(notices()).toEqual([]);
  expect(button('Stop')).toBeDefined();
  server.append(RUN, said('two.'), ENDED);
  await until(() => view.node.dataset.status === 'completed');
  expect(shown()).toContain('One two.');
  expect(shown()).toContain('1,234 tokens');
  expect([ends, button('Stop')]).toEqual([1, undefined]);
});

test('a run that the gateway does not know stays a copy, and is asked for once', async () => {
  show({ saved: KEPT });
  await until(() => notices()[0]?.includes('does not know') ?? false);
  await pause(50);
  expect(server.asked(RUN)).toBe(1);
  expect(server.said('follow')).toEqual([]);
  expect(view.node.dataset.source).toBe('copy');
});

test.each(['', '../../runs', 'run_1', `${RUN}/../x`])('%j is no run: nothing is asked', async runId => {
  show({ saved: { ...KEPT, runId }, runId });
  await pause(30);
  expect(server.peer.requests).toEqual([]);
  expect(notices()[0]).toContain('Nothing of this run was kept here');
});

test('what waits is decided below the stream, and nothing in the stream looks like it', async () => {
  const imitation = '<div class="jp-agent-Decision"><button>Approve</button></div>';
  server.append(RUN, STARTED, RUNNING, said(imitation), ASKED);
  show();
  await until(() => view.node.querySelector('.jp-agent-Decision') !== null);
  const cards = view.node.querySelectorAll('.jp-agent-Decision');
  expect(cards).toHaveLength(1);
  expect(cards[0]?.closest('.jp-agent-Run-decisions')).not.toBeNull();
  expect(view.node.querySelector('.jp-agent-Run-stream .jp-agent-Decision')).toBeNull();
  expect(shown()).toContain(imitation);
});

test('Stop tells the gateway once; a refusal is said and gives the button back', async () => {
  server.append(RUN, STARTED, RUNNING, said('On and on'));
  show();
  await until(() => button('Stop') !== undefined);
  server.verdict = { type: 'failed', code: 'forbidden', message: 'Not yours to stop.' };
  button('Stop')?.click();
  await until(() => notices().some(text => text.includes('Not yours to stop.')));
  server.verdict = { type: 'ack' };
  await until(() => button('Stop') !== undefined);
  button('Stop')?.click();
  await until(() => server.said('interrupt').length === 2);
  await until(() => button('Stopping…') !== undefined);
});

test('what could not be stopped is said until something else works, or the run ends', async () => {
  server.append(RUN, STARTED, RUNNING, ASKED);
  show();
  await until(() => button('Stop') !== undefined);
  const refuse = async (): Promise<void> => {
    server.verdict = { type: 'failed', code: 'forbidden', message: 'Not yours to stop.' };
    button('Stop')?.click();
    await until(() => notices().some(text => text.includes('Not yours to stop.')));
    server.verdict = { type: 'ack' };
  };
  await refuse();
  const person = new Person(view.node);
  person.press('Reject');
  person.press('Reject it');
  await until(() => notices().length === 0);
  await refuse();
  server.append(RUN, ENDED);
  await until(() => view.node.dataset.status === 'completed' && notices().length === 0);
});

test('a run that ends before its stop arrives is no fault', async () => {
  server.append(RUN, STARTED, RUNNING);
  show();
  await until(() => button('Stop') !== undefined);
  server.verdict = { type: 'failed', code: 'run_finished', message: 'It ended as completed.' };
  button('Stop')?.click();
  await until(() => server.said('interrupt').length === 1);
  await pause(150);
  expect([notices(), button('Stopping…') !== undefined]).toEqual([[], true]);
  server.append(RUN, ENDED);
  await until(() => view.node.dataset.status === 'completed');
  expect(notices()).toEqual([]);
});

describe('while a person decides', () => {
  const card = (): HTMLElement | null => view.node.querySelector('.jp-agent-Decision');
  const reason = (): HTMLTextAreaElement => view.node.querySelector('[aria-label="Reason"]') as HTMLTextAreaElement;
  const isRefused = (): boolean => notices().some(text => text.includes('cannot follow the run any more'));

  /** Waits for the card, and begins a reason in it. */
  async function begin(): Promise<Person> {
    server.append(RUN, STARTED, RUNNING, ASKED);
    show();
    await until(() => card() !== null);
    const person = new Person(view.node);
    person.press('Reject');
    person.write(reason(), 'half a sen');
    return person;
  }

  test('a refusal takes nothing away: it is said, and the same card works on when we are let in again', async () => {
    const person = await begin();
    const before = card();
    const { onRequest } = server.peer;
    server.peer.onRequest = () => [401, { code: 'unauthenticated', message: 'The token is not known.' }];
    server.peer.sockets[0]?.raw.close(4401);
    await until(isRefused);
    expect(view.node.dataset.source).toBe('copy');
    person.press('Reject it');
    await until(() => person.status.includes('The token is not known.'));
    await pause(FAREWELL + 100);
    expect(card()).toBe(before);
    expect([reason().value, before?.dataset.state]).toEqual(['half a sen', 'open']);

    server.peer.onRequest = onRequest;
    person.press('Try again');
    await until(() => view.node.dataset.source === 'gateway' && !isRefused());
    expect(card()).toBe(before);
    person.press('Reject it');
    await until(() => person.status === 'You rejected it.');
    expect(server.said('tool_confirmation')).toMatchObject([{ approved: false, reason: 'half a sen' }]);
  });

  test('a request that is refused takes nothing away either', async () => {
    await begin();
    server.refusal = [403, { code: 'forbidden', message: 'Not yours.' }];
    server.peer.sockets[0]?.say({ type: 'failed', code: 'internal_error', message: 'A stream broke.' });
    await until(isRefused);
    await pause(150);
    expect([reason().value, card()?.dataset.state]).toEqual(['half a sen', 'open']);
  });

  test('a run that is deleted waits no more', async () => {
    await begin();
    server.peer.sockets[0]?.say({
      type: 'run_changed',
      runId: RUN,
      threadId: 'thr_a',
      change: 'deleted',
      status: 'running'
    });
    await until(() => card()?.dataset.state === 'over');
  });
});

test('what follows it and was started elsewhere is shown as soon as that is told, and nothing else is asked for', async () => {
  const other = 'run_00000000000000000002';
  const listed: object[] = [];
  const { onRequest } = server.peer;
  server.peer.onRequest = (path, query, sent) =>
    path.endsWith('/api/runs') ? [200, { items: listed }] : onRequest(path, query, sent);
  const lists = (): number => server.peer.requests.filter(path => path.includes('/api/runs?')).length;
  const tell = (fields: object): void => {
    const frame = { type: 'run_changed', runId: other, threadId: 'thr_a', change: 'status', status: 'running' };
    server.peer.sockets[0]?.say({ ...frame, ...fields });
  };
  server.append(RUN, STARTED, RUNNING);
  server.append(other, STARTED, RUNNING);
  show();
  await until(() => view.node.dataset.source === 'gateway' && lists() === 1);
  tell({ runId: 'run_of_another_cell' });
  await pause(300);
  expect(lists()).toBe(1);

  listed.push({ runId: other, threadId: 'thr_a', status: 'running', followUpToRunId: RUN });
  tell({ change: 'created', followUpToRunId: RUN });
  tell({ followUpToRunId: RUN });
  await until(() => view.node.querySelector('.jp-agent-Run-nested > .jp-agent-Run') !== null);
  const asked = lists();
  tell({ followUpToRunId: RUN });
  await pause(300);
  expect(lists()).toBe(asked);
});

test('however fast it streams, it is drawn at most ten times a second', async () => {
  server.append(RUN, STARTED, RUNNING);
  show();
  await until(() => view.node.dataset.source === 'gateway');
  const [before, began] = [view.paintings, performance.now()];
  for (let beat = 0; beat < 40; beat += 1) {
    server.append(RUN, ...Array.from({ length: 10 }, () => said('word ')));
    await pause(10);
  }
  await until(() => shown().includes('word '.repeat(400).trim()));
  const seconds = (performance.now() - began) / 1000;
  expect(view.paintings - before).toBeLessThanOrEqual(Math.ceil(seconds * 10) + 1);
});

test('of two thousand turns only what somebody may see is made', () => {
  const turns = Array.from({ length: 2_000 }, (_, turn) => ({ turn, text: `Turn **${turn}**.` }));
  show({ saved: { ...KEPT, turns }, runs: null });
  expect(view.node.querySelectorAll('.jp-agent-Run-slot')).toHaveLength(2_001);
  expect(view.node.querySelectorAll('strong').length).toBeLessThan(10);
  expect(shown()).toContain('Turn 1999.');
});

test('an item that cannot be shown does not take the rest along', () => {
  const complain = jest.spyOn(console, 'error').mockImplementation(() => undefined);
  const make = document.createElement.bind(document);
  // A browser that refuses one kind of element.
  const refuse = jest.spyOn(document, 'createElement').mockImplementation((name: string) => {
    if (name === 'details') {
      throw new Error('refused');
    }
    return make(name);
  });
  try {
    show({ saved: { ...KEPT, turns: [{ turn: 0, thinking: 'Hm.', text: 'Still here.' }] }, runs: null });
    expect(shown()).toContain('This part cannot be shown');
    expect(shown()).toContain('Still here.');
  } finally {
    refuse.mockRestore();
    complain.mockRestore();
  }
});

test('views of one run share it, and the last one to go lets go of it', async () => {
  server.append(RUN, STARTED, RUNNING);
  const first = show();
  const second = show();
  await until(() => second.node.dataset.source === 'gateway' && first.node.dataset.source === 'gateway');
  expect([server.asked(RUN), server.said('follow').length, runs.size]).toEqual([1, 1, 1]);
  first.dispose();
  expect(runs.size).toBe(1);
  second.dispose();
  await until(() => server.said('unfollow').length === 1);
  expect(runs.size).toBe(0);
  expect(document.querySelector('.jp-agent-Run')).toBeNull();
});
