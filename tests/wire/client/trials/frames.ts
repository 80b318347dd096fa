/** What no good client says: malformed frames, cursors of elsewhere, tokens that do not count. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import {
  ENDLESS,
  RTT_MS,
  RawSocket,
  TOKEN,
  Witness,
  assertExactlyOnce,
  interruptAndEnd,
  runStatus,
  sleep,
  startRun,
  storedEvents,
  words
} from './support.js';

const MALFORMED: (string | Buffer)[] = [
  'no json',
  '',
  '[]',
  'null',
  '42',
  '{}',
  '{"type":null}',
  '{"type":"no_such_command"}',
  '{"type":"tool_confirmation","toolCallId":7,"approved":true}',
  '{"type":"tool_confirmation","toolCallId":"x"}',
  '{"type":"user_input"}',
  '{"type":"resume","lastEventId":{}}',
  '{"type":"interrupt"',
  '{"type":"heartbeat","type":',
  '['.repeat(50_000),
  Buffer.from([0, 255, 254, 1])
];

/** Says so on a fresh socket as its first word, and returns how the gateway ended it. */
async function endOf(runId: string, ...frames: (string | Buffer)[]): Promise<{ reason: unknown; code: unknown }> {
  const raw = await RawSocket.open(runId);
  frames.forEach(frame => raw.say(frame));
  await raw.until('the gateway closes', () => raw.code !== undefined);
  assert.equal(raw.events.length, 0, 'a stranger hears nothing of the run');
  return { reason: raw.of('auth_failed')[0]?.['reason'], code: raw.code };
}

export function frames(): void {
  it('answers malformed frames with `failed`, and closes after ten in a row', async () => {
    const runId = await startRun([ENDLESS]);
    const witness = new Witness(runId).connect();
    const raw = await RawSocket.authenticated(runId);
    let refused = 0;
    for (const frame of MALFORMED) {
      raw.say(frame);
      refused += 1;
      await raw.until(`${frame.toString().slice(0, 40)} is refused`, () => raw.of('failed').length === refused);
      raw.say({ type: 'heartbeat' });
    }
    await raw.until('each heartbeat is acknowledged', () => raw.of('heartbeat_ack').length === MALFORMED.length);
    for (let count = 0; count < 10; count += 1) {
      raw.say('{"type":"no_such_command"}');
    }
    await raw.closed(4400);
    assert.equal(raw.of('failed').length, refused + 10);
    assert.equal(await runStatus(runId), 'running', 'the run does not know of it');
    await interruptAndEnd(witness);
    await assertExactlyOnce(witness);
  });

  it('ends a socket that is malformed before it is authenticated', async () => {
    const runId = await startRun([words(3, 0)]);
    assert.equal((await endOf(runId, 'no json')).code, 4400);
    assert.ok([4400, 4401].includes((await endOf(runId, '[]')).code as number));
    assert.equal((await endOf(runId, '{"type":"heartbeat"}')).code, 4401);
    assert.equal(
      (await endOf(runId, '{"type":"interrupt"}', JSON.stringify({ type: 'auth', token: TOKEN }))).code,
      4401
    );
    assert.equal((await endOf(runId, JSON.stringify({ type: 'auth', token: 'x'.repeat(5_000) }))).code, 1009);
    assert.equal((await endOf(runId, Buffer.from([1, 2, 3]))).code, 4400);
  });

  it('closes on a frame that is too big', async () => {
    const raw = await RawSocket.authenticated(await startRun([words(3, 0)]));
    raw.say(JSON.stringify({ type: 'user_input', requestId: 'x', content: 'y'.repeat(2 * 1024 * 1024) }));
    await raw.closed(1009);
  });

  it('says the same of a wrong token and of a run that is not there', async () => {
    const runId = await startRun([words(3, 0)]);
    const wrong = await endOf(runId, '{"type":"auth","token":"wrong"}');
    const empty = await endOf(runId, '{"type":"auth","token":""}');
    const absent = await endOf('run_of_nobody', JSON.stringify({ type: 'auth', token: TOKEN }));
    assert.equal(wrong.code, 4401);
    assert.equal(typeof wrong.reason, 'string');
    assert.deepEqual(empty, wrong);
    assert.deepEqual(absent, wrong);
    const client = new Witness(runId, { token: 'wrong' });
    client.connect();
    await client.until('it is refused', () => client.of('auth_failed').length > 0 && client.closes.length > 0);
    await sleep(500 + RTT_MS);
    assert.equal(client.sockets, 1, 'a refused client does not try again');
  });

  it('answers a cursor of another run with a gap and everything', async () => {
    const other = new Witness(await startRun([words(3, 0)])).connect();
    await other.ended();
    other.leave();
    const lastEventId = other.client.lastEventId as string;
    const witness = new Witness(await startRun([words(10, 0.02)]), { lastEventId }).connect();
    await witness.ended();
    witness.leave();
    assert.equal(witness.of('gap').length, 1);
    assert.equal(witness.of('gap')[0]?.['requested'], lastEventId);
    await assertExactlyOnce(witness);
  });

  it('answers a cursor that is none with a gap and everything', async () => {
    const runId = await startRun([words(10, 0.02)]);
    for (const lastEventId of ['garbage', '-1', '0', '../../etc/passwd', 'a-1-99999999999999999999999', 'é\u0000']) {
      const witness = new Witness(runId, { lastEventId }).connect();
      await witness.ended();
      witness.leave();
      assert.equal(witness.of('gap').length, 1, JSON.stringify(lastEventId));
      await assertExactlyOnce(witness);
    }
  });

  it('answers a cursor beyond the end with a gap and what comes after the last event', async () => {
    const runId = await startRun([words(5, 0)]);
    const first = new Witness(runId).connect();
    await first.ended();
    first.leave();
    const last = first.client.lastEventId as string;
    const beyond = last.replace(/\d+$/, seq => String(Number(seq) + 1_000));
    const witness = new Witness(runId, { lastEventId: beyond }).connect();
    await witness.until('it is answered', () => witness.of('replay_complete').length > 0);
    witness.leave();
    assert.deepEqual(
      witness.of('gap').map(gap => [gap['requested'], gap['latest']]),
      [[beyond, last]]
    );
    assert.equal(witness.events.length, 0, 'nothing that the client may have is told again');
  });

  it('lets a client that was silent say late where it stands', async () => {
    const runId = await startRun([ENDLESS]);
    const witness = new Witness(runId).connect();
    await witness.until('events flow', () => witness.events.length > 60);
    const first = witness.frames.find(frame => frame.id !== undefined)?.id as string;
    const cursor = witness.client.lastEventId as string;
    const raw = await RawSocket.authenticated(runId);
    await raw.until('it is told everything', () => raw.events.length > 3);
    raw.say({ type: 'resume', lastEventId: cursor, clientId: 'late' });
    await raw.until('it is taken', () => raw.of('ack').length > 0);
    const taken = raw.frames.length;
    await raw.until('events flow', () => raw.frames.slice(taken).filter(frame => frame['id']).length > 3);
    raw.say({ type: 'resume', lastEventId: first, clientId: 'back' });
    await raw.until('it is taken too', () => raw.of('ack').length > 1);
    await sleep(500);
    raw.leave();
    await interruptAndEnd(witness);
    const order = (await storedEvents(runId)).map(event => event['id']);
    const places = raw.events.map(event => order.indexOf(event['id']));
    assert.deepEqual(
      places,
      [...new Set(places)].sort((a, b) => a - b),
      'in order, and nothing twice'
    );
    const later = raw.frames.slice(taken).filter(frame => frame['id']);
    assert.ok(later.every(event => order.indexOf(event['id']) > order.indexOf(cursor)));
  });

  it('takes a fresh token on the open socket', async () => {
    const witness = new Witness(await startRun([ENDLESS])).connect();
    await witness.until('events flow', () => witness.events.length > 10);
    witness.client.updateToken(TOKEN);
    await witness.until('it is confirmed', () => witness.of('auth_success').length === 2);
    const heard = witness.events.length;
    await witness.until('events flow on', () => witness.events.length > heard + 5);
    assert.deepEqual([witness.sockets, witness.closes.length], [1, 0]);
    await interruptAndEnd(witness);
    await assertExactlyOnce(witness);
  });

  it('takes a good token after a wrong one, and nothing is lost', async () => {
    const witness = new Witness(await startRun([ENDLESS])).connect();
    await witness.until('events flow', () => witness.events.length > 10);
    witness.client.updateToken('outdated');
    await witness.until('it is refused', () => witness.of('auth_failed').length === 1 && witness.closes.length === 1);
    assert.deepEqual(witness.closes, [4401]);
    const heard = witness.events.length;
    witness.client.updateToken(TOKEN);
    witness.connect();
    await witness.until('events flow on', () => witness.events.length > heard + 5);
    await interruptAndEnd(witness);
    await assertExactlyOnce(witness);
  });

  it('takes a new token at the next socket', async () => {
    const witness = new Witness(await startRun([ENDLESS]), { reconnectBaseMs: 300 }).connect();
    await witness.until('events flow', () => witness.events.length > 10);
    witness.kill('reset');
    witness.client.updateToken(TOKEN);
    const heard = witness.events.length;
    await witness.until('events flow on', () => witness.events.length > heard + 5);
    await interruptAndEnd(witness);
    await assertExactlyOnce(witness);
  });
}
