/** The fold in TypeScript comes to what Python's comes to, from the start and from anywhere else. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { AnyEvent, CompactRun } from '../protocol';
import { news, PROGRESS_KEPT, Transcript } from '../transcript';
import { whole } from '../whole';

interface IGolden {
  readonly name: string;
  readonly events: AnyEvent[];
  readonly halfway: { readonly after: number; readonly compact: CompactRun }[];
  readonly compact: CompactRun;
}

const RUNS = JSON.parse(readFileSync(join(__dirname, '../../../tests/golden/transcripts.json'), 'utf-8')) as IGolden[];

function fold(events: AnyEvent[], from?: CompactRun): CompactRun {
  const transcript = new Transcript(from);
  events.forEach(event => transcript.apply(event));
  return transcript.run;
}

/** As the wire has it. */
function sent(run: CompactRun): CompactRun {
  return JSON.parse(JSON.stringify(run)) as CompactRun;
}

function agentEvent(seq: number, event: object): AnyEvent {
  const at = '2026-01-01T00:00:00Z';
  return { type: 'agent_event', id: `aaaaaaaaaa-1-${seq}`, runId: 'run_a', at, event, crc: '0' } as AnyEvent;
}

describe.each(RUNS.map(run => [run.name, run] as const))('golden transcript %s', (_, { events, halfway, compact }) => {
  it('is what its events fold to', () => {
    expect(fold(events)).toEqual(whole(compact));
  });

  it('is what any part of it goes on to', () => {
    for (let cut = 0; cut <= events.length; cut++) {
      const before = sent(fold(events.slice(0, cut)));
      expect(fold(events.slice(cut), before)).toEqual(whole(compact));
    }
  });

  it('is what every transcript of the server goes on to', () => {
    for (const { after, compact: before } of halfway) {
      expect(fold(events.slice(0, after))).toEqual(whole(before));
      expect(fold(events.slice(after), before)).toEqual(whole(compact));
    }
  });
});

it('has a part of every golden run to go on from', () => {
  expect(RUNS.length).toBeGreaterThan(10);
  expect(RUNS.flatMap(({ halfway }) => halfway).length).toBeGreaterThan(RUNS.length);
});

describe('a transcript', () => {
  it('grows one object, and never that which it goes on from', () => {
    const before = sent(fold([agentEvent(1, { kind: 'text_delta', content: 'one ' })]));
    const kept = sent(before);
    const transcript = new Transcript(before);
    const { run } = transcript;
    transcript.apply(agentEvent(2, { kind: 'text_delta', content: 'two' }));
    expect(transcript.run).toBe(run);
    expect(run.turns?.[0]?.text).toBe('one two');
    expect(before).toEqual(kept);
  });

  it('keeps the last characters of what a tool says, never half of one', () => {
    const transcript = new Transcript();
    transcript.apply(agentEvent(1, { kind: 'tool_call_start', toolCallId: 'c', name: 'run', arguments: '' }));
    for (let seq = 2; seq < 40; seq++) {
      transcript.apply(agentEvent(seq, { kind: 'tool_progress', toolCallId: 'c', content: 'ab🥊'.repeat(1_000) }));
    }
    const { progress = '' } = transcript.run.turns?.[0]?.toolCalls?.[0] ?? {};
    expect([...progress]).toHaveLength(PROGRESS_KEPT);
    expect(progress).not.toMatch(/\p{Surrogate}/u);
    expect(progress.endsWith('ab🥊ab🥊')).toBe(true);
  });

  it('keeps how a call ended when running it again is rejected', () => {
    const fields = { runId: 'run_a', at: '2026-01-01T00:00:00Z', crc: '0', toolCallId: 'c' };
    const finished = {
      type: 'tool_trace_finish',
      traceId: 't',
      outcome: 'timed_out',
      latencyMs: 1,
      finishedAt: fields.at
    };
    const rejected = { type: 'approval_resolved', approvalId: 'a', decision: 'reject' };
    const calls = (...events: object[]): unknown =>
      fold(events.map((one, index) => ({ ...fields, ...one, id: `aaaaaaaaaa-1-${index}` }) as unknown as AnyEvent))
        .turns?.[0]?.toolCalls;
    expect(calls(rejected)).toMatchObject([{ outcome: 'rejected', decision: 'reject' }]);
    expect(calls(finished, rejected)).toMatchObject([{ outcome: 'timed_out', decision: 'reject' }]);
  });

  it('says nothing of words that another version knows', () => {
    const transcript = new Transcript(fold([agentEvent(1, { kind: 'text_delta', content: 'one' })]));
    const before = sent(transcript.run);
    const common = { id: 'aaaaaaaaaa-1-2', runId: 'run_a', at: '2027-01-01T00:00:00Z', crc: '0' };
    const of_tomorrow = [
      { ...common, type: 'of_tomorrow' },
      { ...common, type: 'status_change', status: 'dreaming' },
      { ...common, type: 'approval_resolved', approvalId: 'a', toolCallId: 'c', decision: 'perhaps' },
      { ...common, type: 'agent_event', event: { kind: 'smell', content: 'x' } }
    ];
    for (const event of of_tomorrow) {
      transcript.apply(event as unknown as AnyEvent);
      expect(transcript.run).toEqual({ ...before, lastEventId: common.id });
    }
  });

  it('takes 10,000 deltas in less than a twentieth of the time in which they come', () => {
    const transcript = new Transcript();
    const started = performance.now();
    transcript.apply(agentEvent(1, { kind: 'tool_call_start', toolCallId: 'c', name: 'run', arguments: '' }));
    for (let seq = 2; seq < 10_000; seq += 2) {
      transcript.apply(agentEvent(seq, { kind: 'text_delta', content: 'some words ' }));
      transcript.apply(agentEvent(seq + 1, { kind: 'tool_progress', toolCallId: 'c', content: 'a line of output\n' }));
    }
    expect(performance.now() - started).toBeLessThan(500);
    expect(transcript.run.turns?.[0]?.text).toHaveLength(4_999 * 11);
  });
});

it.each([
  ['t-1-2', '', 'next'],
  ['t-1-2', 't-1-1', 'next'],
  ['t-2-3', 't-1-2', 'next'],
  ['t-1-2', 't-1-2', 'known'],
  ['t-1-10', 't-1-9', 'next'],
  ['t-1-1', 't-2-2', 'known'],
  ['t-2-2', 't-1-2', 'rewritten'],
  ['t-2-1', 't-1-2', 'rewritten'],
  ['', 't-1-2', 'known'],
  ['nonsense', '', 'known'],
  [`t-1-${'9'.repeat(80)}`, '', 'known']
])('event %j is to one who has %j %s', (came, last, kind) => {
  expect(news(came, last)).toBe(kind);
});
