/** What a client needs to know that the gateway is there. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import {
  RTT_MS,
  Witness,
  assertExactlyOnce,
  sleep,
  sleepsInKernel,
  startKernel,
  startRun,
  stopKernel,
  within,
  words
} from './support.js';

/** A heartbeat is acknowledged in this time, the network's own apart. */
const ACK_MS = 400;

async function heartbeatsOf(witness: Witness, ms: number): Promise<number[]> {
  const took: number[] = [];
  witness.client.on('heartbeat_ack', roundTrip => took.push(roundTrip));
  await sleep(ms);
  return took;
}

export function liveness(): void {
  it(`acknowledges heartbeats within ${ACK_MS} ms while a tool works`, async () => {
    const kernelId = await startKernel();
    const witness = new Witness(await startRun([sleepsInKernel(6), words(3, 0)], { kernelId }), {
      heartbeatIntervalMs: RTT_MS + 500
    }).connect();
    const question = await witness.asked('tool_confirmation_request');
    witness.client.confirmTool(question['toolCallId'] as string, true);
    await witness.until('the tool works', () => witness.of('tool_trace_start').length > 0);
    const took = await heartbeatsOf(witness, 5_000);
    assert.equal(witness.of('tool_trace_finish').length, 0, 'the tool worked all the time');
    assert.ok(took.length >= Math.floor(5_000 / (RTT_MS + 500)) - 2, `${took.length} were acknowledged`);
    // One may have met a machine that was busy with something else.
    const [worst = 0, next = 0] = [...took].sort((a, b) => b - a);
    assert.ok(next <= RTT_MS + ACK_MS && worst <= within(2_000), `they took ${took.map(Math.round).join(', ')} ms`);
    await witness.ended(within(15_000));
    witness.leave();
    await assertExactlyOnce(witness);
    await stopKernel(kernelId);
  });

  it('keeps the socket of a completed run open', async () => {
    const witness = new Witness(await startRun([words(5, 0.01)]), { heartbeatIntervalMs: 1_000 + RTT_MS }).connect();
    await witness.ended();
    const heard = witness.events.length;
    const took = await heartbeatsOf(witness, 10_000 + RTT_MS);
    assert.ok(took.length >= 4, `${took.length} heartbeats were acknowledged`);
    assert.equal(witness.client.connectionStatus, 'connected');
    assert.deepEqual([witness.sockets, witness.closes.length], [1, 0], 'there is no reconnecting');
    assert.equal(witness.events.length, heard, 'nothing follows the end');
    witness.leave();
    await assertExactlyOnce(witness);
  });

  it('serves a client that was silent for long', async () => {
    const witness = new Witness(await startRun([words(5, 0.01)]), { heartbeatIntervalMs: 3_600_000 }).connect();
    await witness.ended();
    await sleep(8_000);
    assert.deepEqual([witness.sockets, witness.closes.length], [1, 0]);
    witness.leave();
  });
}
