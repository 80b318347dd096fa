import WebSocket from 'ws';

import { CommandFailed, Connection, type IConnectionOptions } from '../connection';
import type { AnyFrame } from '../protocol';
import { event, pause, Peer, type Socket, until, welcome } from './peer';

const QUICK = { auth: 2_000, heartbeat: 60_000, ack: 2_000, firstDelay: 1, longestDelay: 8 };

let peer: Peer;
let connection: Connection;

function connect(options: Partial<IConnectionOptions> = {}): Connection {
  connection = new Connection({
    url: options.url ?? peer.url.replace('http', 'ws'),
    token: () => 'secret',
    times: QUICK,
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    ...options
  });
  connection.connect();
  return connection;
}

function collect(from: Connection): AnyFrame[] {
  const frames: AnyFrame[] = [];
  from.received.connect((_, frame) => void frames.push(frame));
  return frames;
}

/** The commands of a socket without those that keep the connection itself. */
function said(socket: Socket | undefined): object[] {
  return (socket?.heard ?? []).filter(command => command.type !== 'auth' && command.type !== 'heartbeat');
}

beforeEach(async () => {
  peer = await Peer.start();
});

afterEach(async () => {
  connection.dispose();
  await peer.stop();
});

describe('authentication', () => {
  it('sends the token first and is open when it succeeds', async () => {
    connect();
    const states: string[] = [];
    connection.stateChanged.connect((_, state) => void states.push(state));
    await until(() => connection.state === 'open');
    expect(states).toEqual(['authenticating', 'open']);
    expect(peer.sockets[0]?.heard).toEqual([{ type: 'auth', token: 'secret' }]);
  });

  it('stops at a refusal and tells its reason', async () => {
    peer.onCommand = socket => {
      socket.say({ type: 'auth_failed', reason: 'Ask for a token.' });
      socket.raw.close(4401);
    };
    connect();
    const answer = connection.send({ type: 'interrupt', runId: 'run_a' });
    await expect(answer).rejects.toThrow('Ask for a token.');
    expect(connection.state).toBe('refused');
    expect(connection.reason).toBe('Ask for a token.');
    await pause(40);
    expect(peer.sockets).toHaveLength(1);
    await expect(connection.send({ type: 'interrupt' })).rejects.toThrow(CommandFailed);
  });

  it('tries again after a refusal when it is asked to, with the token of then', async () => {
    let token = 'old';
    peer.onCommand = (socket, command) =>
      command.type === 'auth' && command.token === 'new'
        ? socket.say({ type: 'auth_success' })
        : socket.say({ type: 'auth_failed', reason: 'That token is not known.' });
    connect({ token: () => token });
    await until(() => connection.state === 'refused');
    token = 'new';
    connection.connect();
    await until(() => connection.state === 'open');
    expect(connection.reason).toBeNull();
  });

  it.each([4400, 4401, 4403])('does not come back after close code %d', async code => {
    connect();
    await until(() => connection.state === 'open');
    peer.sockets[0]?.raw.close(code);
    await until(() => connection.state === 'refused');
    expect(connection.reason).toMatch(/^The gateway .+\.$|^You may not .+\.$/);
    await pause(40);
    expect(peer.sockets).toHaveLength(1);
  });

  it('tries again where a socket cannot even be made', async () => {
    let tries = 0;
    const Forbidden = class {
      constructor(url: string) {
        tries += 1;
        if (tries < 3) {
          throw new DOMException('The operation is insecure.', 'SecurityError');
        }
        return new WebSocket(url);
      }
    };
    connect({ WebSocket: Forbidden as unknown as typeof globalThis.WebSocket });
    expect(connection.state).toBe('waiting');
    await until(() => connection.state === 'open');
    expect(tries).toBe(3);
  });

  it('tries again when nobody answers in time', async () => {
    let deaf = true;
    peer.onCommand = (socket, command) => (deaf ? undefined : welcome(socket, command));
    connect({ times: { ...QUICK, auth: 30 } });
    await until(() => peer.sockets.length === 2);
    deaf = false;
    await until(() => connection.state === 'open');
  });

  it('starts one heartbeat although success is said twice', async () => {
    peer.onCommand = (socket, command) => {
      welcome(socket, command);
      welcome(socket, command);
    };
    connect();
    connection.follow({ runId: 'run_a' });
    await until(() => said(peer.sockets[0]).length > 0);
    await pause(20);
    expect(said(peer.sockets[0])).toEqual([{ type: 'follow', runId: 'run_a' }]);
  });
});

describe('following', () => {
  it('goes on after the last event, also of a type it does not know', async () => {
    connect();
    const frames = collect(connection);
    connection.follow({ runId: 'run_a' });
    connection.follow({ runId: '*' });
    await until(() => said(peer.sockets[0]).length === 2);
    peer.sockets[0]?.say(event('run_a', 1), event('run_a', 2, { type: 'of_tomorrow' }));
    await until(() => frames.length === 1);
    await pause(20);
    peer.sockets[0]?.kill();
    await until(() => said(peer.sockets[1]).length === 2);
    expect(said(peer.sockets[1])).toEqual([
      { type: 'follow', runId: 'run_a', lastEventId: 'aaaaaaaaaa-1-2' },
      { type: 'follow', runId: '*' }
    ]);
  });

  it('keeps its cursor where frames without an id come', async () => {
    connect();
    const frames = collect(connection);
    connection.follow({ runId: 'run_a' });
    await until(() => said(peer.sockets[0]).length === 1);
    peer.sockets[0]?.say(
      event('run_a', 7),
      { type: 'run_changed', runId: 'run_a', threadId: 'thr_a', change: 'status', status: 'running' },
      { type: 'replay_complete', runId: 'run_a', status: 'running', lastEventId: 'aaaaaaaaaa-1-9' }
    );
    await until(() => frames.length === 3);
    peer.sockets[0]?.kill();
    await until(() => said(peer.sockets[1]).length === 1);
    expect(said(peer.sockets[1])).toEqual([{ type: 'follow', runId: 'run_a', lastEventId: 'aaaaaaaaaa-1-7' }]);
  });

  it('loses and doubles nothing over abrupt ends while events flow', async () => {
    const all = 300;
    peer.onCommand = (socket, command) => {
      welcome(socket, command);
      if (command.type === 'follow') {
        let next = Number(command.lastEventId?.split('-')[2] ?? 0);
        const last = Math.min(next + 25, all);
        const timer = setInterval(() => {
          next += 1;
          socket.say(event('run_a', next));
          if (next === last) {
            clearInterval(timer);
            socket.kill();
          }
        }, 1);
      }
    };
    connect();
    const frames = collect(connection);
    connection.follow({ runId: 'run_a' });
    await until(() => frames.length >= all);
    expect(frames.map(frame => ('id' in frame ? Number(frame.id.split('-')[2]) : 0))).toEqual(
      Array.from({ length: all }, (_, index) => index + 1)
    );
    expect(peer.sockets.length).toBeGreaterThan(10);
  });

  it('ends with unfollow, and is not asked for again', async () => {
    connect();
    await until(() => connection.state === 'open');
    const following = connection.follow({ runId: 'run_a', channels: ['status'] });
    following.dispose();
    await until(() => said(peer.sockets[0]).length === 2);
    expect(said(peer.sockets[0])).toEqual([
      { type: 'follow', runId: 'run_a', channels: ['status'] },
      { type: 'unfollow', runId: 'run_a' }
    ]);
    peer.sockets[0]?.kill();
    await until(() => peer.sockets.length === 2 && connection.state === 'open');
    await pause(20);
    expect(said(peer.sockets[1])).toEqual([]);
  });

  it('is one a run', () => {
    connect();
    connection.follow({ runId: 'run_a' });
    expect(() => connection.follow({ runId: 'run_a' })).toThrow('run_a');
  });
});

describe('commands', () => {
  it('are answered by their id', async () => {
    peer.onCommand = (socket, command) => {
      welcome(socket, command);
      if (command.type === 'interrupt') {
        socket.say({ type: 'ack', clientId: command.clientId, result: command.runId });
      } else if (command.type === 'user_input') {
        socket.say({ type: 'failed', clientId: command.clientId, code: 'not_found', message: 'No such question.' });
      }
    };
    connect();
    const [answer, refusal] = await Promise.allSettled([
      connection.send({ type: 'interrupt', runId: 'run_a' }),
      connection.send({ type: 'user_input', requestId: 'inp_a', content: 'yes' })
    ]);
    expect(answer).toMatchObject({ status: 'fulfilled', value: { result: 'run_a' } });
    expect(refusal).toMatchObject({ status: 'rejected', reason: { code: 'not_found', message: 'No such question.' } });
  });

  it('are sent again with the same id when the answer was lost', async () => {
    peer.onCommand = (socket, command) => {
      welcome(socket, command);
      if (command.type === 'interrupt') {
        return peer.sockets.length === 1 ? socket.kill() : socket.say({ type: 'ack', clientId: command.clientId });
      }
    };
    connect();
    const ack = await connection.send({ type: 'interrupt', runId: 'run_a' });
    const [first, second] = peer.sockets.map(said);
    expect(first).toEqual(second);
    expect(second).toEqual([{ type: 'interrupt', runId: 'run_a', clientId: ack.clientId }]);
  });

  it('that nobody answers in time are rejected, and not sent again', async () => {
    connect({ times: { ...QUICK, answer: 30 } });
    await until(() => connection.state === 'open');
    await expect(connection.send({ type: 'interrupt', runId: 'run_a' })).rejects.toMatchObject({
      code: 'not_answered',
      message: 'The gateway did not answer for 0.03 s.'
    });
    peer.sockets[0]?.kill();
    await until(() => peer.sockets.length === 2 && connection.state === 'open');
    await pause(20);
    expect(said(peer.sockets[1])).toEqual([]);
  });

  it('are rejected when the connection is disposed', async () => {
    connect();
    const answer = connection.send({ type: 'interrupt', runId: 'run_a' });
    connection.dispose();
    await expect(answer).rejects.toThrow('closed');
    expect(connection.state).toBe('closed');
  });

  it('that nobody sent are told to those who listen', async () => {
    connect();
    const frames = collect(connection);
    await until(() => connection.state === 'open');
    peer.sockets[0]?.say({ type: 'failed', code: 'invalid_request', message: 'That frame is no command.' });
    await until(() => frames.length === 1);
    expect(frames[0]).toMatchObject({ type: 'failed', code: 'invalid_request' });
  });
});

describe('staying alive', () => {
  it('beats, and stays on the socket while it is acknowledged', async () => {
    connect({ times: { ...QUICK, heartbeat: 10, ack: 400 } });
    await until(() => (peer.sockets[0]?.heard.filter(({ type }) => type === 'heartbeat').length ?? 0) >= 60);
    expect(peer.sockets).toHaveLength(1);
  });

  it('closes with 4000 and comes back when an acknowledgement is missing', async () => {
    const codes: number[] = [];
    peer.onCommand = (socket, command) => {
      if (command.type === 'auth') {
        socket.raw.on('close', code => codes.push(code));
        socket.say({ type: 'auth_success' });
      }
    };
    connect({ times: { ...QUICK, heartbeat: 10, ack: 20 } });
    await until(() => peer.sockets.length === 2 && codes.length > 0);
    expect(codes[0]).toBe(4000);
  });

  it('waits longer after each failure, with full jitter, and starts over after a success', async () => {
    const waits = jest.spyOn(globalThis, 'setTimeout');
    let refusals = 0;
    peer.onCommand = (socket, command) => (refusals++ < 6 ? socket.kill() : welcome(socket, command));
    connect({ random: () => 0.5, times: { ...QUICK, firstDelay: 3, longestDelay: 24 } });
    await until(() => connection.state === 'open');
    const attempts = peer.sockets.length;
    peer.sockets.at(-1)?.kill();
    await until(() => peer.sockets.length > attempts);
    const waited = waits.mock.calls.map(([, delay]) => delay).filter(delay => [1.5, 3, 6, 12].includes(delay ?? NaN));
    waits.mockRestore();
    expect(waited).toEqual([1.5, 3, 6, 12, 12, 12, 1.5]);
  });

  it('gives up after the attempts it was given', async () => {
    const url = peer.url.replace('http', 'ws');
    await peer.stop();
    connect({ url, attempts: 3 });
    await until(() => connection.state === 'refused');
    expect(connection.reason).toContain('3 attempts');
  });

  it('ignores what is no frame', async () => {
    connect();
    const frames = collect(connection);
    await until(() => connection.state === 'open');
    const socket = peer.sockets[0];
    ['', 'null', '[]', '{"type":', '{"type":"agent_event"}', '{"type":"toString"}', '7'].forEach(text =>
      socket?.raw.send(text)
    );
    socket?.raw.send(Buffer.from([0, 1, 2]));
    socket?.say(event('run_a', 1));
    await until(() => frames.length > 0);
    expect(frames).toHaveLength(1);
    expect(connection.state).toBe('open');
  });
});
