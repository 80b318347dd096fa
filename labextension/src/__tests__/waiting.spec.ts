/** What waits for a person, as it is told by the transcripts of one's runs. */

import { ActivityModel } from '../activity';
import type { PageGateway } from '../gateway';
import type { Run, RunStatus } from '../protocol';
import { requestAll } from '../request';
import { Runs } from '../runs';
import { type Ending, type Waiting, WaitingModel } from '../waiting';
import { Journals } from './journals';
import { pause, until } from './peer';

let server: Journals;
let gateway: PageGateway;
let runs: Runs;
let activity: ActivityModel;
let model: WaitingModel;
/** The ids of what stopped waiting, and how. */
let endings: [string, Ending][];
/** What the gateway lists. */
let statuses: Map<string, RunStatus>;

function ask(runId: string, approvalId: string): void {
  const tool = { identifier: 'run_cell', apiName: 'run_cell', name: 'run_cell', arguments: '{}' };
  const times = { expiresAt: '2026-01-01T00:10:00Z' };
  const call = { toolCallId: `call_${approvalId}`, tool, approvalId, effects: ['exec'], preview: {}, ...times };
  server.append(runId, { type: 'tool_confirmation_request', ...call });
}

function decide(runId: string, approvalId: string, decision: string): void {
  server.append(runId, { type: 'approval_resolved', approvalId, toolCallId: `call_${approvalId}`, decision });
}

function question(runId: string, requestId: string): void {
  server.append(runId, { type: 'input_request', requestId, prompt: 'Which sheet?' });
}

function tell(runId: string, status: RunStatus, change = 'status'): void {
  statuses.set(runId, status);
  server.peer.sockets.at(-1)?.say({ type: 'run_changed', runId, threadId: 'thr_a', change, status });
}

const waiting = (): string[] => model.items.map(({ id }) => id);

beforeEach(async () => {
  server = await Journals.start();
  statuses = new Map();
  endings = [];
  const { onRequest } = server.peer;
  server.peer.onRequest = (path, query, sent) =>
    path.endsWith('/runs')
      ? [
          200,
          {
            items: [...statuses]
              .filter(([, status]) => status === query.get('status'))
              .map(([runId, status]) => ({ runId, status }))
          }
        ]
      : onRequest(path, query, sent);
  gateway = server.page();
  const times = { tell: 5, firstDelay: 20, longestDelay: 80, lastEvent: 40, blocked: 60_000, poll: 20 };
  runs = new Runs(gateway, times);
  gateway.connection.connect();
  activity = new ActivityModel(gateway.connection, status => requestAll<Run>('runs', gateway, { status }));
  model = new WaitingModel(runs, activity);
  model.ended.connect((_, [{ id }, ending]: readonly [Waiting, Ending]) => void endings.push([id, ending]));
  await until(() => activity.isCurrent);
});

afterEach(async () => {
  model.dispose();
  activity.dispose();
  runs.dispose();
  gateway.connection.dispose();
  await server.peer.stop();
});

it('tells what waits when a run starts to, and what came before', async () => {
  ask('run_a', 'apr_0');
  decide('run_a', 'apr_0', 'approve');
  ask('run_a', 'apr_1');
  question('run_a', 'inp_1');
  tell('run_a', 'waiting_confirmation');
  await until(() => waiting().length === 2);
  expect(model.items).toEqual([
    {
      kind: 'approval',
      id: 'apr_1',
      runId: 'run_a',
      toolCallId: 'call_apr_1',
      toolName: 'run_cell',
      effects: ['exec']
    },
    { kind: 'input', id: 'inp_1', runId: 'run_a' }
  ]);
  await until(() => model.isCurrent);
  expect(endings).toEqual([]);
});

it.each(['approve', 'edit', 'reject', 'expired'] as const)(
  'tells of an approval that it ended by %s',
  async decision => {
    ask('run_a', 'apr_1');
    tell('run_a', 'waiting_confirmation');
    await until(() => model.isCurrent && waiting().length === 1);
    ask('run_a', 'apr_2');
    decide('run_a', 'apr_1', decision);
    await until(() => endings.length > 0);
    expect(endings).toEqual([['apr_1', decision]]);
    expect(waiting()).toEqual(['apr_2']);
  }
);

it('tells of a question whether somebody answered', async () => {
  question('run_a', 'inp_1');
  question('run_a', 'inp_2');
  tell('run_a', 'waiting_input');
  await until(() => model.isCurrent && waiting().length === 2);
  server.append('run_a', { type: 'input_received', requestId: 'inp_1', content: '' });
  server.append('run_a', { type: 'input_received', requestId: 'inp_2', content: null });
  await until(() => endings.length === 2);
  expect(endings).toEqual([
    ['inp_1', 'answered'],
    ['inp_2', 'unanswered']
  ]);
});

it('tells how it ended although the run is over at the same moment', async () => {
  ask('run_a', 'apr_1');
  ask('run_a', 'apr_2');
  tell('run_a', 'waiting_confirmation');
  await until(() => model.isCurrent && waiting().length === 2);
  decide('run_a', 'apr_1', 'reject');
  server.append('run_a', { type: 'session_complete', status: 'interrupted', usage: {} });
  tell('run_a', 'interrupted');
  await until(() => endings.length === 2);
  expect(endings).toEqual([
    ['apr_1', 'reject'],
    ['apr_2', 'over']
  ]);
  expect(runs.size).toBe(0);
});

it('tells what was decided while the connection was lost', async () => {
  ask('run_a', 'apr_1');
  tell('run_a', 'waiting_confirmation');
  await until(() => model.isCurrent && waiting().length === 1);
  const followed = server.said('follow').length;
  server.peer.sockets.at(-1)?.kill();
  decide('run_a', 'apr_1', 'approve');
  ask('run_a', 'apr_2');
  expect(waiting()).toEqual(['apr_1']);
  await until(() => model.isCurrent && server.said('follow').length > followed);
  await until(() => endings.length === 1);
  expect(endings).toEqual([['apr_1', 'approve']]);
  expect(waiting()).toEqual(['apr_2']);
});

it('tells what ended in a transcript that was loaded anew', async () => {
  ask('run_a', 'apr_1');
  question('run_a', 'inp_1');
  tell('run_a', 'waiting_confirmation');
  await until(() => model.isCurrent && waiting().length === 2);
  const told = server.peer.sockets.at(-1);
  if (told) {
    told.say = () => undefined; // what happens now is not told
  }
  decide('run_a', 'apr_1', 'reject');
  server.append('run_a', { type: 'input_received', requestId: 'inp_1', content: 'x' });
  told?.raw.send(JSON.stringify({ type: 'gap', runId: 'run_a', requested: '' }));
  await until(() => endings.length === 2);
  expect(endings).toEqual([
    ['apr_1', 'reject'],
    ['inp_1', 'answered']
  ]);
});

it('shares the model of a run with whoever shows it', async () => {
  ask('run_a', 'apr_1');
  const view = runs.open('run_a');
  tell('run_a', 'waiting_confirmation');
  await until(() => waiting().length === 1);
  expect(server.asked('run_a')).toBe(1);
  expect(server.said('follow').map(command => 'runId' in command && command.runId)).toEqual(['*', 'run_a']);
  server.append('run_a', { type: 'session_complete', status: 'completed', usage: {} });
  tell('run_a', 'completed');
  await until(() => endings.length === 1);
  expect(view.state).toBe('ended');
  view.dispose();
  expect(runs.size).toBe(0);
});

it('keeps silent while a run only talks', async () => {
  ask('run_a', 'apr_1');
  tell('run_a', 'waiting_confirmation');
  await until(() => model.isCurrent && waiting().length === 1);
  await pause(30); // that it is up to date now is told a moment later
  let changes = 0;
  model.changed.connect(() => (changes += 1));
  for (let count = 0; count < 20; count++) {
    server.append('run_a', { type: 'agent_event', event: { kind: 'text_delta', content: 'x' } });
    await pause(3);
  }
  expect(changes).toBe(0);
});

it('forgets a run that was deleted', async () => {
  ask('run_a', 'apr_1');
  tell('run_a', 'waiting_confirmation');
  await until(() => waiting().length === 1);
  tell('run_a', 'waiting_confirmation', 'deleted');
  await until(() => endings.length === 1);
  expect(endings).toEqual([['apr_1', 'over']]);
  expect([waiting(), runs.size]).toEqual([[], 0]);
});
