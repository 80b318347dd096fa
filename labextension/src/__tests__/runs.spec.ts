/** Runs as the views of a page get them: over real requests and sockets, whatever goes wrong with them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { CommandFailed } from '../connection';
import type { IRunTimes } from '../followed';
import type { PageGateway } from '../gateway';
import type { AnyEvent, CompactRun } from '../protocol';
import { Runs } from '../runs';
import type { IRunModel } from '../tokens';
import { whole } from '../whole';
import { Journals, transcriptOf } from './journals';
import { event, pause, until } from './peer';

interface IGolden {
  readonly name: string;
  readonly events: AnyEvent[];
  readonly compact: CompactRun;
}

const GOLDEN = JSON.parse(
  readFileSync(join(__dirname, '../../../tests/golden/transcripts.json'), 'utf-8')
) as IGolden[];

const TIMES: IRunTimes = {
  tell: 16,
  firstDelay: 20,
  longestDelay: 80,
  answer: 2_000,
  lastEvent: 40,
  blocked: 60_000,
  poll: 20
};

const STARTED = {
  type: 'run_started',
  threadId: 'thr_a',
  userId: 'owner',
  agent: 'default',
  model: 'demo',
  input: [{ type: 'text', text: 'Sum it up' }]
};
const ENDED = { type: 'session_complete', status: 'completed', usage: {} };
const ASKED = {
  type: 'tool_confirmation_request',
  toolCallId: 'call_1',
  tool: { identifier: 'run_cell', apiName: 'run_cell', name: 'run_cell', arguments: '{}' },
  approvalId: 'apr_1',
  expiresAt: '2026-01-01T00:10:00Z',
  effects: ['exec'],
  preview: {}
};
const QUESTION = { type: 'input_request', requestId: 'inp_1', prompt: 'Which sheet?' };

const said = (content: string): object => ({ type: 'agent_event', event: { kind: 'text_delta', content } });

let server: Journals;
let gateway: PageGateway;
let runs: Runs;

function page(times: Partial<IRunTimes> = {}, socket?: unknown): Runs {
  runs?.dispose();
  gateway?.connection.dispose();
  gateway = server.page(socket);
  return (runs = new Runs(gateway, { ...TIMES, ...times }));
}

/** Opens a run and waits until it is in that state. */
async function open(state: IRunModel['state'], runId = 'run_a'): Promise<IRunModel> {
  const model = runs.open(runId);
  await until(() => model.state === state);
  return model;
}

const text = (model: IRunModel): string => (model.transcript?.turns ?? []).map(turn => turn.text).join('|');

/** The transcript is what the journal says. */
function isWhole(model: IRunModel): boolean {
  const { lastEventId } = model.transcript ?? {};
  const events = server.runs.get(model.runId) ?? [];
  if (lastEventId !== events.at(-1)?.id) {
    return false;
  }
  expect(model.transcript).toEqual(transcriptOf(model.runId, events));
  return true;
}

/** A socket that a page may not have. */
const Blocked = class {
  constructor() {
    throw new DOMException('The operation is insecure.', 'SecurityError');
  }
};

beforeEach(async () => {
  server = await Journals.start();
  page();
  server.append('run_a', STARTED, said('one '));
});

afterEach(async () => {
  runs.dispose();
  gateway.connection.dispose();
  await server.peer.stop();
});

describe('a run that is opened', () => {
  it('is loaded, then followed from there, and ends', async () => {
    const model = runs.open('run_a');
    expect([model.state, model.transcript, model.fault]).toEqual(['loading', null, null]);
    await until(() => model.state === 'live');
    expect(server.said('follow')).toEqual([{ type: 'follow', runId: 'run_a', lastEventId: 'aaaaaaaaaa-1-2' }]);
    server.append('run_a', said('two'));
    await until(() => isWhole(model));
    expect(text(model)).toBe('one two');
    server.append('run_a', ENDED);
    await until(() => model.state === 'ended');
    await until(() => server.said('unfollow').length === 1);
    expect(model.transcript?.status).toBe('completed');
    expect(model.fault).toBeNull();
    expect(server.asked('run_a')).toBe(1);
  });

  it('and has ended is only loaded: no socket is opened for it', async () => {
    server.append('run_a', ENDED);
    const model = await open('ended');
    await pause(30);
    expect(text(model)).toBe('one ');
    expect(gateway.connection.state).toBe('closed');
    expect(server.peer.sockets).toHaveLength(0);
  });

  it('and that nobody knows is absent: no socket is opened for it either', async () => {
    const model = await open('absent', 'run_b');
    expect(model.fault).toBe('There is no run run_b.');
    expect(server.peer.sockets).toHaveLength(0);
  });

  it.each(['../../api/contents', 'run a', '', 'x'.repeat(200)])('and whose id is %j is not asked for', async runId => {
    const model = runs.open(runId);
    expect(model.state).toBe('absent');
    expect(model.fault).toContain('not the id of a run');
    model.reconnect();
    await pause(20);
    expect(server.peer.requests).toEqual([]);
  });

  it.each(GOLDEN.map(run => [run.name, run] as const))('comes to the golden transcript %s', async (_, run) => {
    const { events, compact } = run;
    const { runId = '' } = events[0] ?? {};
    server.runs.set(runId, []);
    const half = Math.floor(events.length / 2);
    events.slice(0, half).forEach(one => server.write(runId, one));
    const model = runs.open(runId);
    await until(() => model.state === 'live' || model.state === 'ended');
    events.slice(half).forEach(one => server.write(runId, one));
    // A frame of a type that the page does not know never reaches the model: it knows the position alone.
    const expected = { ...whole(compact), lastEventId: expect.any(String) };
    await until(() => JSON.stringify(strip(model.transcript)) === JSON.stringify(strip(whole(compact))));
    expect(model.transcript).toEqual(expected);
    expect(model.state).toBe(compact.isComplete ? 'ended' : 'live');
    expect(model.fault).toBeNull();
  });
});

/** Without the position, with its fields in order. */
function strip(run: CompactRun | null): unknown {
  return run && sorted({ ...run, lastEventId: '' });
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (value === null || typeof value !== 'object') {
    return value;
  }
  return Object.entries(value)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, field]) => [name, sorted(field)]);
}

describe('shares', () => {
  it('are of one model, which is let go of with the last', async () => {
    const [first, second] = [await open('live'), await open('live')];
    expect(second.transcript).toBe(first.transcript);
    expect(server.said('follow')).toHaveLength(1);
    expect(server.asked('run_a')).toBe(1);
    first.dispose();
    server.append('run_a', said('two'));
    await until(() => text(second) === 'one two');
    expect([first.isDisposed, first.transcript, runs.size]).toEqual([true, null, 1]);
    second.dispose();
    second.dispose();
    await until(() => server.said('unfollow').length === 1);
    expect(runs.size).toBe(0);
  });

  it('tell nobody any more after they are disposed', async () => {
    const [first, second] = [await open('live'), await open('live')];
    const told: string[] = [];
    first.changed.connect(() => void told.push('first'));
    second.changed.connect(() => {
      told.push('second');
      first.dispose();
    });
    server.append('run_a', said('two'));
    await until(() => told.includes('second'));
    server.append('run_a', said('three'));
    await until(() => told.filter(name => name === 'second').length > 1);
    expect(told.filter(name => name === 'first').length).toBeLessThanOrEqual(1);
  });

  it('leave nothing behind', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const kept = await (async () => {
      const model = await open('live');
      const kept = [new WeakRef(model), new WeakRef(model.transcript as object)];
      model.dispose();
      return kept;
    })();
    await until(() => {
      collect();
      return kept.every(one => one.deref() === undefined);
    });
    expect(runs.size).toBe(0);
  });

  it('can be had again after the last, with all of the run', async () => {
    (await open('live')).dispose();
    server.append('run_a', said('two'));
    const model = await open('live');
    expect(text(model)).toBe('one two');
  });

  it('that were let go of before the answer came change nothing', async () => {
    runs.open('run_a').dispose();
    await pause(40);
    expect(server.said('follow')).toEqual([]);
    expect(runs.size).toBe(0);
  });
});

describe('what comes', () => {
  it('gets in once and in order, whatever comes twice', async () => {
    const model = await open('live');
    server.append('run_a', said('two '), said('three '));
    await until(() => text(model) === 'one two three ');
    const [socket] = server.peer.sockets;
    const events = server.runs.get('run_a') ?? [];
    socket?.say(...events, ...events.slice(-1), event('run_b', 9, said('of another run')));
    server.append('run_a', said('four'));
    await until(() => text(model).endsWith('four'));
    expect(text(model)).toBe('one two three four');
  });

  it('of what waits is announced again without a trace', async () => {
    server.append('run_a', ASKED);
    const model = await open('live');
    const before = structuredClone(model.transcript);
    server.peer.sockets[0]?.say(event('run_a', 3, ASKED));
    server.append('run_a', said('two'));
    await until(() => text(model) === 'one two');
    expect(model.transcript?.approvals).toEqual(before?.approvals);
  });

  it('is told at most once in 16 ms, and costs little', async () => {
    const model = await open('live');
    let told = 0;
    model.changed.connect(() => (told += 1));
    const [started, before] = [Date.now(), model.revision];
    for (let count = 0; count < 2_000; count++) {
      server.append('run_a', said('x'));
    }
    await until(() => text(model).length === 2_004);
    await until(() => told > 0);
    expect(told).toBeLessThanOrEqual((Date.now() - started) / 16 + 1);
    expect(model.revision).toBe(before + 2_000);
  });

  it('may be a line of 5 MB', async () => {
    const model = await open('live');
    server.append('run_a', said('x'.repeat(5_000_000)), said(' end'));
    await until(() => text(model).endsWith('end'));
    expect(text(model)).toHaveLength(5_000_008);
    expect(model.state).toBe('live');
  });

  it('may be nothing that anybody understands: the model says so and goes on', async () => {
    const model = await open('live');
    server.append('run_a', { ...STARTED, input: [null] }, { type: 'of_tomorrow' }, said('two'));
    await until(() => text(model) === 'one two');
    expect(model.state).toBe('live');
    expect(model.fault).toContain('could not be understood');
  });

  it('may be a transcript that is none: it is asked for again', async () => {
    server.refusal = [200, { runId: 'run_a', status: 'running', turns: 7 }];
    const model = await open('behind');
    expect(model.fault).toMatch(/asked again/);
    server.refusal = [200, { runId: 'run_b', status: 'running' }];
    await until(() => model.fault?.includes('something else than this run') ?? false);
    server.refusal = [200, '<html>Sign in</html>'];
    await until(() => model.fault?.includes('no JSON') ?? false);
    server.refusal = null;
    await until(() => model.state === 'live');
    expect(model.fault).toBeNull();
  });
});

describe('where events were lost', () => {
  it.each([[[]], [[said('two ')]], [[said('two '), said('three '), said('four ')]]])(
    'on the server, the run is loaded anew after a reconnect: %j',
    async written => {
      server.append('run_a', said('lost '), said('lost too '));
      const model = await open('live');
      const before = model.transcript;
      server.lose('run_a', 2, ...written);
      server.peer.sockets[0]?.kill();
      await until(() => isWhole(model) && model.state === 'live');
      expect(text(model)).not.toContain('lost');
      expect(model.transcript).not.toBe(before);
      server.append('run_a', said('end'));
      await until(() => text(model).endsWith('end'));
      expect(isWhole(model)).toBe(true);
    }
  );

  it('and others written in their place, the run is loaded anew at once', async () => {
    server.append('run_a', said('lost '));
    const model = await open('live');
    server.lose('run_a', 2, said('two '), said('three'));
    const [, , rewritten] = server.runs.get('run_a') ?? [];
    server.peer.sockets[0]?.say(rewritten as object);
    await until(() => isWhole(model) && model.state === 'live');
    expect(text(model)).toBe('one two three');
  });

  it('between the answer and the socket, the run is loaded anew', async () => {
    server.append('run_a', said('lost '));
    const follow = server.onCommand.bind(server);
    server.onCommand = (socket, command) => {
      if (command.type === 'follow' && server.said('follow').length === 0) {
        server.lose('run_a', 2, said('two '));
      }
      follow(socket, command);
    };
    const model = await open('live');
    await until(() => isWhole(model) && model.state === 'live');
    expect(text(model)).toBe('one two ');
  });

  it('for good, what the gateway answers counts, and is not asked for over and over', async () => {
    const follow = server.onCommand.bind(server);
    server.onCommand = (socket, command) => {
      if (command.type !== 'follow') {
        return follow(socket, command);
      }
      const { runId } = command;
      socket.say({ type: 'gap', runId, requested: '' }, { type: 'snapshot', runId, status: 'completed' });
      socket.say({ type: 'replay_complete', runId, status: 'completed', lastEventId: null });
    };
    const model = await open('ended');
    await pause(60);
    expect(server.asked('run_a')).toBe(1);
    expect(model.transcript?.status).toBe('completed');
    expect(text(model)).toBe('one ');
  });

  it('by a stream that breaks, the run is loaded anew', async () => {
    const model = await open('live');
    server.peer.sockets[0]?.say({ type: 'failed', code: 'storage_error', message: 'It cannot be read.' });
    await until(() => server.asked('run_a') === 2 && model.state === 'live');
    server.runs.delete('run_a');
    server.peer.sockets[0]?.say({ type: 'failed', code: 'run_not_found', message: 'There is no such run.' });
    await until(() => model.state === 'absent');
    expect(text(model)).toBe('one ');
  });
});

describe('a run that ended', () => {
  it('without its last event is over a little later', async () => {
    server.append('run_a', { type: 'status_change', status: 'interrupted' });
    const model = await open('live');
    await until(() => model.state === 'ended');
    expect(model.transcript?.status).toBe('interrupted');
    await until(() => server.said('unfollow').length === 1);
  });

  it('stays as it is when the connection is lost or refused', async () => {
    const [model, other] = [await open('live'), await open('absent', 'run_b')];
    server.append('run_a', ENDED);
    await until(() => model.state === 'ended');
    const { revision } = model;
    server.onCommand = socket => socket.say({ type: 'auth_failed', reason: 'That token is not known.' });
    server.peer.sockets[0]?.kill();
    await until(() => gateway.connection.state === 'refused');
    await pause(30);
    expect([model.state, model.fault, model.revision]).toEqual(['ended', null, revision]);
    expect(other.state).toBe('absent');
  });

  it('and was deleted is absent; what was there is still shown', async () => {
    const model = await open('live');
    const deleted = { type: 'run_changed', runId: 'run_a', threadId: 'thr_a', change: 'deleted', status: 'running' };
    server.peer.sockets[0]?.say(deleted);
    await until(() => model.state === 'absent');
    expect(model.fault).toBe('The run was deleted.');
    expect(text(model)).toBe('one ');
    await until(() => server.said('unfollow').length === 1);
  });
});

describe('a connection', () => {
  it('that is lost while events flow loses and doubles nothing', async () => {
    const model = await open('live');
    const states = new Set<string>();
    model.changed.connect(() => states.add(model.state));
    for (let count = 0; count < 40; count++) {
      server.append('run_a', said(`${count} `));
      if (count % 8 === 7) {
        server.peer.sockets.at(-1)?.kill();
        await pause(20);
      }
    }
    await until(() => isWhole(model) && model.state === 'live');
    expect(server.peer.sockets.length).toBeGreaterThan(3);
    expect(server.asked('run_a')).toBe(1);
    expect(model.fault).toBeNull();
  });

  it('that is lost leaves the run behind, and says why', async () => {
    const model = await open('live');
    const { onCommand } = server.peer;
    server.peer.onCommand = () => undefined;
    server.peer.sockets[0]?.kill();
    await until(() => model.state === 'behind');
    await until(() => model.fault?.startsWith('The connection to the agent gateway is lost') ?? false);
    expect(text(model)).toBe('one ');
    server.peer.onCommand = onCommand;
    server.peer.sockets.forEach(socket => socket.kill());
    await until(() => model.state === 'live');
    expect(model.fault).toBeNull();
  });

  it('that is refused says why, and is tried again when asked to', async () => {
    const { onCommand } = server.peer;
    server.peer.onCommand = socket => socket.say({ type: 'auth_failed', reason: 'That token is not known.' });
    const model = await open('refused');
    expect(model.fault).toBe('That token is not known.');
    expect(text(model)).toBe('one ');
    server.peer.onCommand = onCommand;
    model.reconnect();
    await until(() => model.state === 'live');
    expect(model.fault).toBeNull();
  });

  it('whose credential runs out is refused with a sentence', async () => {
    const model = await open('live');
    server.peer.sockets[0]?.raw.close(4401);
    await until(() => model.state === 'refused');
    expect(model.fault).toContain('sign in again');
  });

  it('over which somebody else follows the run leaves it to be looked up', async () => {
    gateway.connection.connect();
    const theirs = gateway.connection.follow({ runId: 'run_a' });
    const model = await open('behind');
    await until(() => model.fault?.includes('followed over this connection already') ?? false);
    server.append('run_a', said('two'));
    await until(() => text(model) === 'one two');
    theirs.dispose();
    await until(() => model.state === 'live');
  });
});

describe('an answer', () => {
  it.each([401, 403])('of %d refuses, until it is tried again', async status => {
    server.refusal = [status, { code: 'forbidden', message: 'You may not read runs here.' }];
    const model = await open('refused');
    expect(model.fault).toBe('You may not read runs here.');
    await pause(60);
    expect(server.asked('run_a')).toBe(1);
    server.refusal = null;
    model.reconnect();
    await until(() => model.state === 'live');
  });

  it('of a server in trouble leaves the run behind, and is asked for again, less and less often', async () => {
    server.refusal = [503, { code: 'storage_error', message: 'The disk cannot be read.' }];
    const model = await open('behind');
    expect(model.fault).toContain('The disk cannot be read.');
    expect(model.transcript).toBeNull();
    await pause(300);
    expect(server.asked('run_a')).toBeLessThanOrEqual(8);
    server.refusal = null;
    await until(() => model.state === 'live');
    expect(model.fault).toBeNull();
  });

  it('that does not come at all leaves the run behind', async () => {
    await server.peer.stop();
    const model = await open('behind');
    expect(model.fault).toMatch(/^The server did not answer\. \(.+\) It is asked again by itself\.$/);
  });

  it('that never ends is not waited for for ever', async () => {
    page({ answer: 30 });
    const request = gateway.request.bind(gateway);
    let tries = 0;
    gateway.request = path => (++tries < 2 ? new Promise(() => undefined) : request(path));
    const model = await open('behind');
    expect(model.fault).toContain('Nothing came for 0.03 s.');
    await until(() => model.state === 'live');
  });
});

describe('where WebSockets are blocked', () => {
  beforeEach(() => page({ blocked: 20 }, Blocked));

  it('the run is looked up every now and then, to its end', async () => {
    const model = await open('behind');
    await until(() => model.fault?.startsWith('Live updates do not come through') ?? false);
    server.append('run_a', said('two'));
    await until(() => text(model) === 'one two');
    expect(model.state).toBe('behind');
    const { transcript } = model;
    const asked = server.asked('run_a');
    await until(() => server.asked('run_a') > asked + 2);
    expect(model.transcript).toBe(transcript);
    server.append('run_a', ENDED);
    await until(() => model.state === 'ended');
    expect(model.fault).toBeNull();
    const last = server.asked('run_a');
    await pause(80);
    expect(server.asked('run_a')).toBe(last);
  });

  it('what is decided is sent by request', async () => {
    server.append('run_a', ASKED, QUESTION);
    const model = await open('behind');
    await model.decide('apr_1', { approved: true, arguments: '{"a": 1}', remember: 'run' });
    await model.answer('inp_1', 'The first.');
    await model.interrupt();
    await until(() => model.fault?.startsWith('Live updates') ?? false);
    expect(server.posted).toEqual([
      ['approvals/apr_1', { approved: true, arguments: '{"a": 1}', remember: 'run' }],
      ['runs/run_a/inputs/inp_1', { content: 'The first.' }],
      ['runs/run_a/interrupt', {}]
    ]);
    server.peer.onRequest = () => [409, { code: 'already_resolved', message: 'It was decided before.' }];
    await expect(model.decide('apr_1', { approved: false })).rejects.toMatchObject({
      name: 'CommandFailed',
      code: 'already_resolved',
      message: 'It was decided before.'
    });
  });
});

describe('acting', () => {
  it('names the run, the call and the approval', async () => {
    server.append('run_a', ASKED, QUESTION);
    const model = await open('live');
    await model.decide('apr_1', { approved: false, reason: 'Not here.', arguments: '{}' });
    await model.answer('inp_1', 'The first.');
    await model.interrupt();
    const clientId: unknown = expect.any(String);
    const call = { runId: 'run_a', toolCallId: 'call_1', approvalId: 'apr_1' };
    expect(server.commands.slice(-3)).toEqual([
      { type: 'tool_confirmation', ...call, approved: false, reason: 'Not here.', clientId },
      { type: 'user_input', runId: 'run_a', requestId: 'inp_1', content: 'The first.', clientId },
      { type: 'interrupt', runId: 'run_a', clientId }
    ]);
  });

  it('that somebody else was quicker to do is refused in the words of the gateway', async () => {
    server.append('run_a', ASKED);
    const message = 'The approval apr_1 was decided before: reject by owner.';
    server.verdict = { type: 'failed', code: 'already_resolved', message };
    const model = await open('live');
    const refusal: unknown = await model.decide('apr_1', { approved: true }).catch((fault: unknown) => fault);
    expect(refusal).toBeInstanceOf(CommandFailed);
    expect(refusal).toMatchObject({ code: 'already_resolved', message });
  });

  it('on what does not wait is refused here', async () => {
    server.append('run_a', ASKED, QUESTION);
    const model = await open('live');
    const resolved = { type: 'approval_resolved', approvalId: 'apr_1', toolCallId: 'call_1', decision: 'reject' };
    server.append('run_a', resolved, { type: 'input_received', requestId: 'inp_1', content: 'x' });
    await until(() => isWhole(model));
    await expect(model.decide('apr_1', { approved: true })).rejects.toThrow('does not wait for a decision any more');
    await expect(model.decide('apr_other', { approved: true })).rejects.toThrow(CommandFailed);
    await expect(model.answer('inp_1', 'x')).rejects.toThrow('does not wait for an answer any more');
    server.append('run_a', ENDED);
    await until(() => model.state === 'ended');
    await expect(model.interrupt()).rejects.toThrow('The run is over.');
    model.dispose();
    await expect(model.interrupt()).rejects.toThrow(CommandFailed);
    await until(() => server.said('unfollow').length > 0);
    expect(server.commands.filter(({ type }) => type !== 'auth').map(({ type }) => type)).toEqual([
      'follow',
      'unfollow'
    ]);
  });

  it('is for those who may', async () => {
    server.append('run_a', ASKED, QUESTION);
    Object.assign(gateway, { mayDecide: false });
    const model = await open('live');
    await expect(model.decide('apr_1', { approved: true })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(model.answer('inp_1', 'x')).rejects.toMatchObject({ code: 'forbidden' });
    expect(server.said('tool_confirmation')).toEqual([]);
  });
});
