/** What is asked of the gateway: once, over the connection or by request, and never without an answer. */

import WebSocket from 'ws';

import { act, type Action } from '../actions';
import type { PageGateway } from '../gateway';
import { Journals } from './journals';
import { until } from './peer';

const STOP: Action = { type: 'interrupt', runId: 'run_a' };

/** The first socket is one; then a page may have no more. */
const OnlyOne = (): unknown => {
  let made = 0;
  return class {
    constructor(url: string) {
      if ((made += 1) > 1) {
        throw new DOMException('The operation is insecure.', 'SecurityError');
      }
      return new WebSocket(url);
    }
  };
};

let server: Journals;
let gateway: PageGateway;

async function open(socket?: unknown): Promise<void> {
  gateway = server.page(socket, { answer: 50 });
  gateway.connection.connect();
  await until(() => gateway.connection.state === 'open');
}

beforeEach(async () => {
  server = await Journals.start();
  gateway = server.page();
});

afterEach(async () => {
  gateway.connection.dispose();
  await server.peer.stop();
});

it('goes over the connection while that is open', async () => {
  await open();
  await act(STOP, gateway);
  expect(server.said('interrupt')).toHaveLength(1);
  expect(server.posted).toEqual([]);
});

it('that the gateway refuses is refused, and not tried another way', async () => {
  await open();
  server.verdict = { type: 'failed', code: 'run_active', message: 'It has begun.' };
  await expect(act(STOP, gateway)).rejects.toMatchObject({ code: 'run_active', message: 'It has begun.' });
  expect(server.posted).toEqual([]);
});

it('goes by request under the same name where the socket does not answer', async () => {
  await open();
  server.verdict = null;
  await act(STOP, gateway);
  expect(server.posted).toEqual([['runs/run_a/interrupt', {}]]);
  expect(server.peer.keys).toEqual(
    server.said('interrupt').map(({ type: _, ...command }) => Reflect.get(command, 'clientId'))
  );
});

it('goes by request where the socket dies with it and no other comes', async () => {
  await open(OnlyOne());
  server.verdict = null;
  const acting = act(STOP, gateway);
  server.peer.sockets[0]?.kill();
  await acting;
  expect(server.posted).toEqual([['runs/run_a/interrupt', {}]]);
});

it.each<[Action, string, object]>([
  [{ type: 'start_run', input: 'Go on.', threadId: 'thr_a' }, 'runs', { input: 'Go on.', threadId: 'thr_a' }],
  [{ type: 'interrupt', runId: 'run_a', ifQueued: true }, 'runs/run_a/interrupt', { ifQueued: true }],
  [
    {
      type: 'tool_confirmation',
      runId: 'run_a',
      toolCallId: 'call_1',
      approvalId: 'apr/1',
      approved: false,
      reason: 'No.'
    },
    'approvals/apr%2F1',
    { approved: false, reason: 'No.' }
  ],
  [
    { type: 'user_input', runId: 'run_a', requestId: 'inp_1', content: 'The first.' },
    'runs/run_a/inputs/inp_1',
    { content: 'The first.' }
  ]
])('goes by request at once where there is no connection: %j', async (action, path, body) => {
  await act({ ...action, clientId: 'mine' }, gateway);
  expect(server.posted).toEqual([[path, body]]);
  expect(server.peer.keys).toEqual(['mine']);
});

it('that nobody answers says that it was done or not', async () => {
  await server.peer.stop();
  await expect(act(STOP, gateway)).rejects.toMatchObject({
    code: 'not_connected',
    message: expect.stringContaining('this was done or not: look again.') as string
  });
});
