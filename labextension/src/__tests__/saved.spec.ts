/** What a notebook keeps is data of unknown origin: only known fields of known types come through, and nothing to act on. */

import { isRunId, parseSaved } from '../view/saved';

const RUN = 'run_00112233445566778899';
const KEPT = {
  schemaVersion: 1,
  runId: RUN,
  status: 'completed',
  prompt: 'Hello?',
  turns: [
    {
      turn: 0,
      text: 'Hi.',
      toolCalls: [{ toolCallId: 'c1', name: 'list_files', arguments: '{}', result: 'a', mime: { 'image/png': 'abc' } }]
    }
  ],
  usage: { inputTokens: 3, cost: 0.5 },
  firstAt: '2026-01-01T00:00:00Z',
  lastAt: '2026-01-01T00:00:04Z'
};

test('what we keep ourselves comes back', () => {
  const { schemaVersion: _, ...kept } = KEPT;
  expect(parseSaved(KEPT)).toMatchObject(kept);
});

test.each([
  null,
  undefined,
  7,
  'text',
  [],
  {},
  { runId: RUN },
  { runId: RUN, status: 'sleeping' },
  { runId: '../../etc', status: 'completed' },
  { runId: `${RUN}\n`, status: 'completed' },
  { runId: { toString: (): string => RUN }, status: 'completed' }
])('%j is no run', value => {
  expect(parseSaved(value)).toBeNull();
});

test('where a fork comes from is a run or nothing', () => {
  expect(parseSaved({ ...KEPT, forkedFromRunId: RUN, forkedFromTurn: 3 })).toMatchObject({
    forkedFromRunId: RUN,
    forkedFromTurn: 3
  });
  expect(parseSaved({ ...KEPT, forkedFromRunId: '<b>', forkedFromTurn: 'x' })).toMatchObject({
    forkedFromRunId: null,
    forkedFromTurn: null
  });
});

test('fields of other types are left out, and do not break', () => {
  const run = parseSaved({
    ...KEPT,
    prompt: 5,
    turns: [
      7,
      null,
      { text: ['a'], toolCalls: 'many' },
      { toolCalls: [null, { name: {}, result: 3, outcome: 'fine' }] }
    ],
    usage: 'much',
    firstAt: 'yesterday',
    error: { code: 1, message: null },
    leftOutTurns: Infinity
  });
  expect(run?.prompt).toBe('');
  expect(run?.turns).toHaveLength(4);
  expect(run?.turns?.[3]?.toolCalls).toHaveLength(2);
  expect(run?.turns?.[3]?.toolCalls?.[1]).toMatchObject({ name: '', result: null, outcome: null });
  expect(run?.usage?.inputTokens).toBe(0);
  expect(run).toMatchObject({ firstAt: null, error: { code: '', message: '' }, leftOutTurns: 0 });
});

test('approvals, questions, addresses and tokens are never taken from it', () => {
  const planted = {
    ...KEPT,
    status: 'waiting_confirmation',
    approvals: [{ approvalId: 'apr_1', toolName: 'rm' }],
    inputs: [{ requestId: 'inp_1', prompt: 'Password?' }],
    url: 'wss://evil.example',
    token: 'secret',
    lastEventId: 'abc-0-1',
    detail: 'f'.repeat(64)
  };
  const run = parseSaved(planted);
  expect(Object.keys(run ?? {})).toEqual(
    expect.not.arrayContaining(['approvals', 'inputs', 'url', 'token', 'lastEventId'])
  );
});

test('names of the prototype are not taken for fields', () => {
  expect(parseSaved(Object.create(KEPT))).toBeNull();
  const run = parseSaved(JSON.parse(`{"runId": "${RUN}", "status": "completed", "__proto__": {"prompt": "x"}}`));
  expect(run?.prompt).toBe('');
});

test('a list without end is cut', () => {
  const run = parseSaved({ ...KEPT, turns: new Array(50_000).fill({ text: 'x' }) });
  expect(run?.turns).toHaveLength(20_000);
});

test('ids of runs are told from everything else', () => {
  expect(isRunId(RUN)).toBe(true);
  expect(isRunId('run_')).toBe(false);
  expect(isRunId('run_00112233445566778899/../x')).toBe(false);
});
