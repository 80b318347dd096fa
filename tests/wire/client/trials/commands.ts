/** What a client may ask for: to stop, to answer, to refuse. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import {
  ENDLESS,
  RTT_MS,
  Witness,
  assertExactlyOnce,
  asks,
  fileExists,
  rest,
  runStatus,
  sleep,
  sleepsInKernel,
  startKernel,
  startRun,
  stopKernel,
  words,
  writesFile
} from './support.js';

/** An interrupt is effective in two seconds; the rest is the way there and back, and a machine with much to do. */
const EFFECTIVE_MS = 2_000 + 2 * RTT_MS + 15_000;

async function assertInterrupted(witness: Witness, times = 1): Promise<void> {
  const began = performance.now();
  for (let time = 0; time < times; time += 1) {
    witness.client.interrupt();
  }
  await witness.ended(EFFECTIVE_MS);
  const took = performance.now() - began;
  assert.ok(took <= EFFECTIVE_MS, `it took ${took} ms`);
  assert.equal(witness.of('session_complete')[0]?.['status'], 'interrupted');
  assert.equal(await runStatus(witness.runId), 'interrupted');
  await sleep(300 + RTT_MS);
  witness.leave();
  await assertExactlyOnce(witness);
  assert.equal(witness.of('session_complete').length, 1);
  assert.equal(witness.of('error').length, 0, 'an interrupt is no error');
}

export function commands(): void {
  it('stops a run that streams', async () => {
    const witness = new Witness(await startRun([ENDLESS])).connect();
    await witness.until('text streams', () => witness.text.length > 20);
    await assertInterrupted(witness);
  });

  it('stops a run whose tool works, and the tool', async () => {
    const kernelId = await startKernel();
    const witness = new Witness(await startRun([sleepsInKernel(60), words(3, 0)], { kernelId })).connect();
    const question = await witness.asked('tool_confirmation_request');
    witness.client.confirmTool(question['toolCallId'] as string, true);
    await witness.until('the tool works', () => witness.of('tool_trace_start').length > 0);
    await sleep(500);
    await assertInterrupted(witness);
    assert.equal(witness.of('tool_trace_finish')[0]?.['outcome'], 'interrupted');
    await stopKernel(kernelId);
  });

  it('stops a run that waits for an approval', async () => {
    const witness = new Witness(await startRun([writesFile(), words(3, 0)])).connect();
    await witness.asked('tool_confirmation_request');
    await assertInterrupted(witness);
  });

  it('stops a run that waits for an answer', async () => {
    const witness = new Witness(await startRun([asks(), words(3, 0)])).connect();
    await witness.asked('input_request');
    await assertInterrupted(witness);
  });

  it('stops a run before its first turn', async () => {
    const witness = new Witness(await startRun([{ ...words(3, 0), wait_s: 60 }])).connect();
    await witness.until('it is authenticated', () => witness.client.connectionStatus === 'connected');
    await assertInterrupted(witness);
    assert.equal(witness.of('turn_committed').filter(turn => turn['stopReason'] === 'stop').length, 0);
  });

  it('stops a run once when it is told twice', async () => {
    const witness = new Witness(await startRun([ENDLESS])).connect();
    await witness.until('text streams', () => witness.text.length > 20);
    await assertInterrupted(witness, 2);
  });

  it('stops a run that a client cancels by interrupting and leaving', async () => {
    const witness = new Witness(await startRun([ENDLESS])).connect();
    await witness.until('text streams', () => witness.text.length > 20);
    witness.client.cancel();
    const deadline = performance.now() + EFFECTIVE_MS;
    while ((await runStatus(witness.runId)) !== 'interrupted') {
      assert.ok(performance.now() < deadline, 'the command before the close acts');
      await sleep(50);
    }
  });

  it('does not change a run that has ended', async () => {
    const witness = new Witness(await startRun([words(3, 0)])).connect();
    await witness.ended();
    witness.client.interrupt();
    await sleep(500 + RTT_MS);
    witness.leave();
    assert.equal(await runStatus(witness.runId), 'completed');
    await assertExactlyOnce(witness);
  });

  it('carries out what was approved', async () => {
    const turn = writesFile();
    const witness = new Witness(await startRun([turn, words(3, 0)])).connect();
    const question = await witness.asked('tool_confirmation_request');
    const tool = question['tool'] as Record<string, string>;
    assert.equal(tool['name'], 'create_file');
    assert.deepEqual(JSON.parse(tool['arguments'] as string), turn.calls?.[0]?.arguments);
    assert.equal(await fileExists(turn), false, 'nothing happens before the answer');
    witness.client.confirmTool(question['toolCallId'] as string, true);
    await witness.ended();
    witness.leave();
    assert.equal(await fileExists(turn), true);
    await assertExactlyOnce(witness);
  });

  it('does not carry out what was rejected, and goes on', async () => {
    const turn = writesFile();
    const witness = new Witness(await startRun([turn, { text: 'Well then: {result}' }])).connect();
    const question = await witness.asked('tool_confirmation_request');
    witness.client.confirmTool(question['toolCallId'] as string, false);
    await witness.ended();
    witness.leave();
    assert.equal(await fileExists(turn), false);
    assert.equal(await runStatus(witness.runId), 'completed');
    const results = witness
      .of('agent_event')
      .map(frame => frame['event'] as Record<string, unknown>)
      .filter(event => event['kind'] === 'tool_result');
    assert.equal(results.length, 1);
    assert.equal(results[0]?.['isError'], true);
    assert.equal(witness.of('tool_trace_start').length, 0);
    assert.match(witness.text, /Well then: ./);
    await assertExactlyOnce(witness);
  });

  it('hands on an answer', async () => {
    const witness = new Witness(await startRun([asks(), { text: 'You said {result}.' }])).connect();
    const question = await witness.asked('input_request');
    assert.equal(question['prompt'], 'Which one?');
    witness.client.sendInput(question['requestId'] as string, 'the grüne 🌱 one');
    await witness.ended();
    witness.leave();
    assert.match(witness.text, /the grüne 🌱 one/);
    await assertExactlyOnce(witness);
  });

  it('answers parallel questions one by one, in any order', async () => {
    const turns = [writesFile(), writesFile(), writesFile()];
    const calls = turns.flatMap(turn => turn.calls ?? []);
    const witness = new Witness(await startRun([{ text: 'All at once. ', calls }, words(3, 0)])).connect();
    const last = await witness.asked('tool_confirmation_request', 3);
    const ids = new Set(witness.of('tool_confirmation_request').map(frame => frame['toolCallId'] as string));
    assert.equal(ids.size, 3);
    witness.client.confirmTool(last['toolCallId'] as string, true);
    for (const id of ids) {
      if (id !== last['toolCallId']) {
        witness.client.confirmTool(id, id === [...ids][0]);
      }
    }
    await witness.ended();
    witness.leave();
    const decisions = witness.of('approval_resolved').map(frame => frame['decision']);
    assert.deepEqual(decisions.sort(), ['approve', 'approve', 'reject']);
    await assertExactlyOnce(witness);
  });

  it('refuses an answer to a question that was not asked', async () => {
    const witness = new Witness(await startRun([writesFile(), words(3, 0)])).connect();
    const question = await witness.asked('tool_confirmation_request');
    witness.client.confirmTool('call_of_nobody', true);
    witness.client.sendInput('request_of_nobody', 'hello');
    await witness.until('both are refused', () => witness.of('failed').length === 2);
    assert.equal(witness.of('approval_resolved').length, 0);
    witness.client.confirmTool(question['toolCallId'] as string, true);
    await witness.ended();
    witness.leave();
    await assertExactlyOnce(witness);
  });

  it('lets REST and a socket decide the same approval once', async () => {
    const witness = new Witness(await startRun([writesFile(), words(3, 0)])).connect();
    const question = await witness.asked('tool_confirmation_request');
    const path = `jupyter-agent/api/approvals/${question['approvalId'] as string}`;
    witness.client.confirmTool(question['toolCallId'] as string, true);
    await rest('POST', path, { approved: false });
    await witness.ended();
    witness.leave();
    assert.equal(witness.of('approval_resolved').length, 1);
    await assertExactlyOnce(witness);
  });
}
