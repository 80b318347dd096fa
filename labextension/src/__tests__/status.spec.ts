/**
 * The status bar's item as a page has it: plugins, connection, requests and model together, over real sockets.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { IStatusBar } from '@jupyterlab/statusbar';
import { CommandRegistry } from '@lumino/commands';
import type { Widget } from '@lumino/widgets';

import type { Run, RunStatus } from '../protocol';
import { IConnection } from '../tokens';
import { activateAll } from './page';
import { closeDialogs, Peer, type Socket, until } from './peer';

let peer: Peer;
let connection: IConnection;
let commands: CommandRegistry;

function run(runId: string, status: RunStatus): Run {
  const at = '2026-01-01T00:00:00Z';
  return {
    runId,
    status,
    threadId: 'thr_a',
    userId: 'owner',
    agent: 'default',
    model: 'demo',
    createdAt: at,
    updatedAt: at
  };
}

/** Activates the plugins and returns the item that is registered. */
function activate(): Widget {
  commands = new CommandRegistry();
  const items: Widget[] = [];
  const statusBar = { registerStatusItem: (_: string, { item }: IStatusBar.IItem) => items.push(item) };
  connection = activateAll(peer, commands, new Map([[IStatusBar, statusBar]]))(IConnection);
  expect(items).toHaveLength(1);
  return items[0] as Widget;
}

/** What the gateway would list. */
let runs: Run[];

function tell(
  socket: Socket | undefined,
  runId: string,
  change: 'created' | 'status' | 'deleted',
  status: RunStatus
): void {
  socket?.say({ type: 'run_changed', runId, threadId: 'thr_a', change, status });
}

beforeEach(async () => {
  peer = await Peer.start();
  runs = [];
  peer.onRequest = (path, query) =>
    path === '/jupyter-agent/api/runs'
      ? [200, { items: runs.filter(({ status }) => status === query.get('status')) }]
      : [404, 'nothing'];
});

afterEach(async () => {
  connection?.dispose();
  await peer.stop();
});

it('is offline before it knows, then counts what is listed', async () => {
  runs = [
    run('run_a', 'running'),
    run('run_b', 'waiting_input'),
    run('run_c', 'waiting_confirmation'),
    run('run_d', 'pending')
  ];
  const item = activate();
  expect(item.node.textContent).toBe('Agent: offline');
  await until(() => item.node.textContent === 'Agent: 1 running · 2 waiting');
  expect(item.node.dataset.waiting).toBe('true');
  expect(peer.sockets[0]?.heard.slice(0, 2)).toEqual([
    { type: 'auth', token: 'secret' },
    { type: 'follow', runId: '*' }
  ]);
});

it('follows every change', async () => {
  const item = activate();
  await until(() => item.node.textContent === 'Agent: 0 running · 0 waiting');
  const [socket] = peer.sockets;
  tell(socket, 'run_a', 'created', 'running');
  tell(socket, 'run_b', 'created', 'running');
  await until(() => item.node.textContent === 'Agent: 2 running · 0 waiting');
  tell(socket, 'run_a', 'status', 'waiting_confirmation');
  await until(() => item.node.textContent === 'Agent: 1 running · 1 waiting');
  tell(socket, 'run_a', 'status', 'completed');
  tell(socket, 'run_b', 'deleted', 'running');
  await until(() => item.node.textContent === 'Agent: 0 running · 0 waiting');
  expect(item.node.dataset.waiting).toBe('false');
});

it('believes what it is told over a list that was older', async () => {
  runs = [run('run_a', 'running')];
  const list = peer.onRequest;
  peer.onRequest = (path, query, posted) => {
    const answer = list(path, query, posted);
    tell(peer.sockets[0], 'run_a', 'status', 'completed');
    tell(peer.sockets[0], 'run_b', 'created', 'running');
    tell(peer.sockets[0], 'run_b', 'status', 'waiting_input');
    return answer;
  };
  const item = activate();
  await until(() => item.node.textContent === 'Agent: 0 running · 1 waiting');
});

it('is offline while the connection is lost, and lists anew', async () => {
  runs = [run('run_a', 'running')];
  const item = activate();
  await until(() => item.node.textContent === 'Agent: 1 running · 0 waiting');
  runs = [run('run_b', 'waiting_input')];
  peer.sockets[0]?.kill();
  await until(() => item.node.textContent === 'Agent: offline');
  await until(() => item.node.textContent === 'Agent: 0 running · 1 waiting');
});

it('answers what waits when it is clicked', async () => {
  const item = activate();
  const asked: string[] = [];
  commands.commandExecuted.connect((_, { id }) => asked.push(id));
  item.node.querySelector('button')?.click();
  await until(() => document.querySelector('.jp-Dialog') !== null);
  await closeDialogs();
  expect(asked).toEqual(['jupyter-agent:answer']);
});

it('says why it is offline', async () => {
  peer.onRequest = () => [503, { code: 'storage_full', message: 'The disk is full.' }];
  const item = activate();
  await until(() => item.node.title === 'The disk is full.');
  expect(item.node.textContent).toBe('Agent: offline');
});

it('says that the gateway refused', async () => {
  peer.onCommand = socket => socket.say({ type: 'auth_failed', reason: 'That token is not known.' });
  const item = activate();
  await until(() => item.node.title === 'That token is not known.');
});

it('lists page after page', async () => {
  peer.onRequest = (_, query) => {
    if (query.get('status') !== 'running') {
      return [200, {}];
    }
    return query.get('cursor') === 'next'
      ? [200, { items: [run('run_b', 'running')] }]
      : [200, { items: [run('run_a', 'running')], nextCursor: 'next' }];
  };
  const item = activate();
  await until(() => item.node.textContent === 'Agent: 2 running · 0 waiting');
});
