/**
 * All that waits in any run, as a page has it: the models of its plugins, over real sockets and requests.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { CommandRegistry } from '@lumino/commands';

import { WaitingView } from '../decisions/waiting-view';
import { IActivity, IConnection, IRuns } from '../tokens';
import { WaitingModel } from '../waiting';
import { Person, words } from './deciding';
import { activateAll, transcriptOf } from './page';
import { event, Peer, until, welcome } from './peer';

let peer: Peer;
let journals: Map<string, object[]>;
let decided: object[];
let connection: IConnection;
let model: WaitingModel;
let view: WaitingView;

function append(runId: string, fields: object): void {
  const journal = journals.get(runId) ?? [];
  const next = event(runId, journal.length + 1, fields);
  journals.set(runId, [...journal, next]);
  peer.sockets.at(-1)?.say(next);
}

function wait(runId: string, approvalId: string, name: string): void {
  const [expiresAt, preview] = ['2999-01-01T00:00:00Z', { code: '1 + 1', hash: 'h' }];
  const fields = { type: 'tool_confirmation_request', approvalId, expiresAt, preview, effects: ['exec'] };
  append(runId, { ...fields, toolCallId: `call_${approvalId}`, tool: { identifier: name, apiName: name, name } });
}

function tell(runId: string, status: string): void {
  peer.sockets.at(-1)?.say({ type: 'run_changed', runId, threadId: 'thr_a', change: 'status', status });
}

const runs = (): HTMLElement[] => [...view.node.querySelectorAll<HTMLElement>('.jp-agent-Waiting-run')];
const titles = (): string[] =>
  [...view.node.querySelectorAll('.jp-agent-Decision-title')].map(({ textContent }) => textContent ?? '');
const state = (): string => view.node.querySelector('[role="status"]')?.textContent ?? '';

beforeEach(async () => {
  peer = await Peer.start();
  [journals, decided] = [new Map(), []];
  peer.onCommand = (socket, command) => {
    welcome(socket, command);
    if (command.type === 'follow' && command.runId !== '*') {
      const { runId, lastEventId } = command;
      socket.say(...(journals.get(runId) ?? []).slice(Number(lastEventId?.split('-')[2] ?? 0)));
      socket.say({ type: 'replay_complete', runId, status: 'running', lastEventId: null });
    }
    if (command.type === 'tool_confirmation') {
      const { clientId, ...decision } = command;
      decided.push(decision);
      socket.say({ type: 'ack', clientId });
    }
  };
  peer.onRequest = path => {
    const [, runId] = /runs\/(.*)\/transcript$/.exec(path) ?? [];
    return [200, runId ? transcriptOf(runId, journals.get(runId) ?? []) : { items: [] }];
  };
  const service = activateAll(peer, new CommandRegistry(), new Map());
  connection = service(IConnection);
  model = new WaitingModel(service(IRuns), service(IActivity));
  view = new WaitingView({ words, runs: service(IRuns), waiting: model });
  document.body.append(view.node);
});

afterEach(async () => {
  view.dispose();
  model.dispose();
  connection.dispose();
  await peer.stop();
  expect(document.body.children).toHaveLength(0);
});

it('says when nothing waits, and before that is known', async () => {
  expect(state()).toBe('What waits for you is not known yet.');
  await until(() => state() === 'Nothing waits for you.');
});

it('shows what waits run by run, and takes the decision', async () => {
  await until(() => model.isCurrent);
  wait('run_a', 'apr_1', 'one');
  wait('run_a', 'apr_2', 'two');
  wait('run_b', 'apr_3', 'three');
  tell('run_a', 'waiting_confirmation');
  tell('run_b', 'waiting_confirmation');
  await until(() => titles().length === 3);
  expect(runs()).toHaveLength(2);
  expect(runs()[0]?.textContent).toContain('Run run_a');
  expect(runs()[0]?.textContent).toContain('1 more waits');
  // A busy machine may lose its connection for a moment, and says so.
  await until(() => state() === '');
  const person = new Person(runs()[1] as HTMLElement);
  person.press('Reject');
  person.press('Reject it');
  await until(() => person.status === 'You rejected it.');
  expect(decided).toEqual([
    { type: 'tool_confirmation', runId: 'run_b', toolCallId: 'call_apr_3', approvalId: 'apr_3', approved: false }
  ]);
  append('run_b', { type: 'approval_resolved', approvalId: 'apr_3', toolCallId: 'call_apr_3', decision: 'reject' });
  await until(() => runs().length === 1);
});

it('says how something ended elsewhere before it goes', async () => {
  await until(() => model.isCurrent);
  append('run_a', { type: 'tool_call_start', toolCallId: 'call_apr_1', name: 'one' });
  wait('run_a', 'apr_1', 'one');
  tell('run_a', 'waiting_confirmation');
  await until(() => titles().length === 1);
  append('run_a', { type: 'approval_resolved', approvalId: 'apr_1', toolCallId: 'call_apr_1', decision: 'approve' });
  const person = new Person(runs()[0] as HTMLElement);
  await until(() => person.status !== '' && !person.status.startsWith('Read it'));
  expect(person.status).toBe('It was approved elsewhere meanwhile.');
  await until(() => runs().length === 0);
  await until(() => state() === 'Nothing waits for you.');
});

it('says so when it may be out of date', async () => {
  await until(() => model.isCurrent);
  wait('run_a', 'apr_1', 'one');
  tell('run_a', 'waiting_confirmation');
  await until(() => titles().length === 1);
  peer.sockets.forEach(socket => socket.kill());
  await until(() => state().startsWith('The gateway cannot be reached at the moment'));
  expect(titles()).toHaveLength(1);
});
