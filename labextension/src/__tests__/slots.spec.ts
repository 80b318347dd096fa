/** A run as slots and figures: keys that stay, turns of any size, numbers as people read them. */

import type { CompactCall, CompactRun } from '../protocol';
import { cacheRate, contextRate, duration, elapsedMs, money, tokens, tokensPerSecond } from '../view/figures';
import { slotsOf } from '../view/slots';

const RUN: CompactRun = { runId: 'run_00112233445566778899', status: 'running' };

function call(id: string, more: Partial<CompactCall> = {}): CompactCall {
  return { toolCallId: id, name: 'f', ...more };
}

test('a prompt, turns and an error stand in their order, each item under a key of its own', () => {
  const run: CompactRun = {
    ...RUN,
    prompt: 'Go.',
    turns: [
      { turn: 0, thinking: 'Hm.', text: 'I look.', toolCalls: [call('a'), call('b')] },
      { turn: 1, toolCalls: [call('a')] },
      { turn: 2 }
    ],
    error: { code: 'x', message: 'y' }
  };
  const slots = slotsOf(run);
  expect(slots.map(({ items }) => items.map(({ kind }) => kind))).toEqual([
    ['prompt'],
    ['thinking', 'text', 'call', 'call'],
    ['call'],
    ['error']
  ]);
  const keys = slots.flatMap(({ items }) => items.map(({ key }) => key));
  expect(new Set(keys).size).toBe(keys.length);
});

test('a fork says where it comes from, and has a prompt only where somebody said something', () => {
  const fork = { ...RUN, prompt: '', forkedFromRunId: 'run_0', forkedFromTurn: 3 };
  expect(slotsOf(fork).map(slot => slot.items[0])).toEqual([
    { kind: 'origin', key: 'origin', runId: 'run_0', turn: 3 }
  ]);
  expect(slotsOf({ ...fork, prompt: 'And now?' }).map(slot => slot.key)).toEqual(['origin', 'prompt']);
});

test('a turn with very many calls becomes many slots, and none is lost', () => {
  const toolCalls = Array.from({ length: 10_000 }, (_, index) => call(`c${index}`));
  const slots = slotsOf({ ...RUN, turns: [{ turn: 0, text: 'All of them.', toolCalls }] });
  const shown = slots.flatMap(({ items }) => items).filter(item => item.kind === 'call');
  expect(shown.map(item => item.call)).toEqual(toolCalls);
  expect(Math.max(...slots.map(({ items }) => items.length))).toBeLessThan(30);
});

test('a call waits while its approval is pending, and no longer once it was started', () => {
  const approvals = [{ toolCallId: 'a' }] as unknown as NonNullable<CompactRun['approvals']>;
  const waits = (more: Partial<CompactCall>) =>
    slotsOf({ ...RUN, approvals, turns: [{ turn: 0, toolCalls: [call('a', more), call('b')] }] })[0]?.items.map(
      item => item.kind === 'call' && item.waits
    );
  expect(waits({})).toEqual([true, false]);
  expect(waits({ startedAt: '2026-01-01T00:00:00Z' })).toEqual([false, false]);
});

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1_340, '1.3 s'],
  [12_400, '12 s'],
  [200_000, '3 min 20 s'],
  [7_500_000, '2 h 05 min'],
  [-5, '0 ms']
])('%d ms reads %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

test('time stands still in a copy and at the end, and goes on in a run', () => {
  const times = { firstAt: '2026-01-01T00:00:00Z', lastAt: '2026-01-01T00:00:04Z' };
  const now = Date.parse('2026-01-01T00:01:00Z');
  expect(elapsedMs({ ...RUN, ...times }, now)).toBe(60_000);
  expect(elapsedMs({ ...RUN, ...times }, null)).toBe(4_000);
  expect(elapsedMs({ ...RUN, ...times, status: 'completed' }, now)).toBe(4_000);
  expect(elapsedMs(RUN, now)).toBeNull();
});

test('tokens are unknown where nobody measured them, and those of the running turn count', () => {
  expect(tokens({ ...RUN, usage: { requests: 1, unmeasuredRequests: 1 } })).toBeNull();
  const liveUsage = { inputTokens: 5, outputTokens: 7 } as NonNullable<CompactRun['liveUsage']>;
  expect(tokens({ ...RUN, usage: { inputTokens: 10, outputTokens: 2 }, liveUsage })).toBe(24);
});

test('rates are parts of one, or unknown', () => {
  expect(cacheRate({ ...RUN, usage: { inputTokens: 200, cacheReadTokens: 50 } })).toBe(0.25);
  expect(cacheRate(RUN)).toBeNull();
  expect(contextRate({ ...RUN, contextUsed: 500, contextMax: 1_000 })).toBe(0.5);
  expect(contextRate({ ...RUN, contextUsed: 500 })).toBeNull();
  const turn = { turn: 0, startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:00:02Z' };
  expect(tokensPerSecond({ ...RUN, turns: [{ ...turn, usage: { outputTokens: 90 } }] })).toBe(45);
  expect(tokensPerSecond({ ...RUN, turns: [{ turn: 0 }] })).toBeNull();
});

test('small sums keep their digits', () => {
  expect([money(0.00123), money(12.3)]).toEqual(['$0.0012', '$12.30']);
});
