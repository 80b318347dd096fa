/** Order and exactly-once: whatever happens to sockets, a client is told each event once. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import {
  CUTTING_SOCKETS,
  ENDLESS,
  RTT_MS,
  Witness,
  assertExactlyOnce,
  interruptAndEnd,
  randomFrom,
  runStatus,
  sleep,
  startRun,
  within,
  words,
  writesFile
} from './support.js';

/** Of all that is killed while events flow. */
const KILLS = 200;
/** From opening a socket to the first event on it: connection, upgrade, `auth`, `resume`. */
const GREETING_MS = 4 * RTT_MS;

async function killWhileEventsFlow(kills: number, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const witness = new Witness(await startRun([ENDLESS]), {
    maxReconnects: kills,
    reconnectBaseMs: 10,
    reconnectCapMs: 100
  }).connect();
  for (let killed = 0; killed < kills;) {
    if (random() < 0.5) {
      const heard = witness.frames.length;
      await witness.until('events flow', () => witness.frames.length > heard + 3, within(10_000));
      await sleep(random() * 200);
    } else {
      await sleep(random() * (GREETING_MS + 200));
    }
    killed += witness.kill(random() < 0.5 ? 'close' : 'reset') ? 1 : 0;
  }
  assert.equal(await runStatus(witness.runId), 'running', 'the run went on all the time');
  const heard = witness.events.length;
  await witness.until('events flow again', () => witness.events.length > heard + 3, within(10_000));
  await interruptAndEnd(witness);
  await assertExactlyOnce(witness);
  assert.ok(witness.closes.length >= kills, 'each killed socket was lost');
}

export function exactlyOnce(): void {
  const clients = RTT_MS >= 1_000 ? 25 : RTT_MS > 0 ? 20 : 8;
  it(`tells each event once over ${KILLS} killed sockets`, async () => {
    await Promise.all(
      Array.from({ length: clients }, async (_, place) => {
        await sleep(place * 50);
        await killWhileEventsFlow(KILLS / clients, 1_000 * RTT_MS + place);
      })
    );
  });

  it('tells each event once through a network that cuts, resets, stalls and half-closes at any byte', async () => {
    const witness = new Witness(await startRun([ENDLESS]), {
      url: CUTTING_SOCKETS,
      maxReconnects: 100,
      connectTimeoutMs: 1_500 + 4 * RTT_MS,
      heartbeatIntervalMs: 500,
      heartbeatAckMs: 1_000 + 2 * RTT_MS
    }).connect();
    await witness.until('sockets are lost', () => witness.closes.length >= (RTT_MS >= 1_000 ? 6 : 10), within(60_000));
    // Each socket tells it some thirty events before it breaks, and the run was quicker than that.
    await interruptAndEnd(witness, within(90_000));
    await assertExactlyOnce(witness);
  });

  it('tells a client that lost its socket before the first event everything', async () => {
    const witness = new Witness(await startRun([words(40, 0.02)]));
    let left = 3;
    witness.client.on('authenticated', () => {
      if (left) {
        left -= 1;
        assert.equal(witness.client.lastEventId, undefined);
        witness.kill(left % 2 ? 'close' : 'reset');
      }
    });
    witness.connect();
    await witness.ended(within(15_000));
    witness.leave();
    assert.equal(witness.sockets, 4);
    await assertExactlyOnce(witness);
  });

  it('tells a client that joins late what it missed, then what comes', async () => {
    const runId = await startRun([words(100, 0.02 + RTT_MS / 20_000)]);
    const first = new Witness(runId).connect();
    await first.until('half of it is told', () => first.text.includes('w40 '));
    const joining = new Witness(runId).connect();
    await Promise.all([first.ended(within(15_000)), joining.ended(within(15_000))]);
    const after = new Witness(runId).connect();
    await after.ended();
    for (const witness of [first, joining, after]) {
      witness.leave();
      await assertExactlyOnce(witness);
      assert.equal(witness.text.trim().split(' ').length, 100);
    }
  });

  it('tells a client that comes back after the end nothing twice', async () => {
    const witness = new Witness(await startRun([words(5, 0.01)])).connect();
    await witness.ended();
    // A run that was over before it was asked for ends in the middle of its replay.
    await witness.until('it knows all', () => witness.of('replay_complete').length === 1);
    witness.kill('reset');
    await witness.until('it is back', () => witness.of('replay_complete').length === 2);
    await sleep(500 + RTT_MS);
    witness.leave();
    await assertExactlyOnce(witness);
  });

  it('lets one of two clients answer, and the other see it', async () => {
    const runId = await startRun([writesFile(), words(20, 0.02)]);
    const both = [new Witness(runId).connect(), new Witness(runId).connect()] as const;
    const [answering, watching] = both;
    await Promise.all(both.map(witness => witness.asked('tool_confirmation_request')));
    const question = await answering.asked('tool_confirmation_request');
    answering.client.confirmTool(question['toolCallId'] as string, true);
    await Promise.all(both.map(witness => witness.ended()));
    assert.equal(watching.of('approval_resolved').length, 1);
    assert.equal(watching.of('approval_resolved')[0]?.['decision'], 'approve');
    for (const witness of both) {
      witness.leave();
      await assertExactlyOnce(witness);
    }
    assert.equal(await runStatus(runId), 'completed');
  });

  it('announces what waits to a client that comes back, under the cursor where it stands', async () => {
    const witness = new Witness(await startRun([writesFile(), words(3, 0.01)])).connect();
    const question = await witness.asked('tool_confirmation_request');
    await witness.until('it waits', () => witness.of('status_change').at(-1)?.['status'] === 'waiting_confirmation');
    const cursor = witness.client.lastEventId;
    witness.kill('close');
    const again = await witness.asked('tool_confirmation_request', 2);
    const place = { id: '', crc: '' };
    assert.deepEqual({ ...again, ...place }, { ...question, ...place }, 'the original body');
    assert.equal(again['id'], cursor, 'the cursor does not move back');
    witness.client.confirmTool(again['toolCallId'] as string, true);
    await witness.ended();
    witness.leave();
    await assertExactlyOnce(witness);
  });
}
