/** A run told by a kernel: what comes over the comm gets into the page's model whole, in order, once. */

import type { IDisposable } from '@lumino/disposable';

import type { CompactRun } from '../protocol';
import { Runs } from '../runs';
import { CommGateway } from '../widget/comm';
import { transcriptOf } from './journals';
import { KernelPeer } from './kernel';
import { event, pause, until } from './peer';

const RUN = 'run_00000000000000000001';
const TIMES = { silence: 150, answer: 100, ask: 0 };

function says(seq: number, content: string): object {
  return event(RUN, seq, { type: 'agent_event', event: { kind: 'text_delta', content } });
}

const STARTED = event(RUN, 1);
const ENDED = (seq: number): object => event(RUN, seq, { type: 'session_complete', status: 'completed', usage: {} });

function textOf(run: CompactRun | null): string {
  return (run?.turns ?? []).map(({ text }) => text).join('|');
}

function page(times: object = {}): { kernel: KernelPeer; gateway: CommGateway; runs: Runs } {
  const kernel = new KernelPeer();
  const gateway = new CommGateway(kernel, RUN, { ...TIMES, ...times });
  const runs = new Runs(gateway, { tell: 0, firstDelay: 1, poll: 20, blocked: 20 });
  open.push(runs, gateway.connection);
  return { kernel, gateway, runs };
}

const open: IDisposable[] = [];

afterEach(() => {
  open.splice(0).forEach(one => one.dispose());
});

test('a run that the kernel tells unasked is live, and goes on to its end', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one ')]));
  kernel.frames(says(3, 'two '));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  expect(textOf(model.transcript)).toBe('one two ');
  kernel.frames(says(4, 'three'), says(5, '!'));
  await until(() => textOf(model.transcript) === 'one two three!');
  kernel.frames(ENDED(6));
  await until(() => model.state === 'ended');
  expect(model.transcript?.status).toBe('completed');
  expect(kernel.asked).toEqual([]);
});

test('what does not arrive is asked for again, and nothing is shown that follows it', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one ')]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.lose();
  kernel.frames(says(4, 'three '));
  kernel.frames(says(5, 'four '));
  expect(kernel.asked).toContainEqual({ ask: 'follow' });
  await pause(20);
  expect(textOf(model.transcript)).toBe('one ');
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one '), says(3, 'two '), says(4, 'three '), says(5, 'four ')]));
  kernel.frames(says(6, 'five'));
  await until(() => textOf(model.transcript) === 'one two three four five');
});

test('the whole run told again, to another page, changes nothing here', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one ')]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.frames(says(3, 'two '));
  const { transcript, revision } = model;
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one '), says(3, 'two ')]));
  await pause(20);
  expect([model.transcript, model.revision, model.state]).toEqual([transcript, revision, 'live']);
  kernel.frames(says(4, 'three'));
  await until(() => textOf(model.transcript) === 'one two three');
});

test('a kernel that rests for the sake of another page is asked to go on, unless all was told', async () => {
  const { kernel, runs } = page({ ask: 60_000 });
  kernel.run(transcriptOf(RUN, [STARTED]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.say('rest');
  kernel.say('rest');
  expect(kernel.asked).toEqual([{ ask: 'follow' }, { ask: 'follow' }]);
  expect(model.state).toBe('live');
  kernel.run(transcriptOf(RUN, [STARTED, ENDED(2)]));
  kernel.say('rest');
  expect(kernel.asked.length).toBe(2);
});

test('a run that is told as over without its last event is over', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.run({ ...transcriptOf(RUN, [STARTED]), status: 'error' });
  await until(() => model.transcript?.status === 'error');
}, 15_000);

test('a second view that is opened later is told everything without asking a busy kernel, as long as one is open', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED]));
  const first = runs.open(RUN);
  await until(() => first.state === 'live');
  kernel.frames(says(2, 'one'));
  const second = runs.open(RUN);
  await until(() => second.state === 'live');
  expect(textOf(second.transcript)).toBe('one');
  first.dispose();
  second.dispose();
  const third = runs.open(RUN);
  expect(kernel.asked.length).toBeLessThan(2);
  await until(() => kernel.asked.length === 1);
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one')]));
  await until(() => third.state === 'live' && textOf(third.transcript) === 'one');
});

test('a kernel that does not answer is said to be busy, and asked again', async () => {
  const { kernel, runs } = page();
  const model = runs.open(RUN);
  await until(() => model.state === 'behind');
  expect(model.fault).toMatch(/^The kernel has not answered yet: it is busy\./);
  kernel.run(transcriptOf(RUN, [STARTED]));
  await until(() => model.state === 'live');
  expect(model.fault).toBeNull();
});

test('silence, and the end of the kernel, leave what was shown and say so', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED, says(2, 'one ')]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  await until(() => model.state === 'behind');
  expect(kernel.asked).toContainEqual({ ask: 'follow' });
  expect(textOf(model.transcript)).toBe('one ');
  kernel.say('tick');
  await until(() => model.state === 'live');
  kernel.emit('comm_live_update');
  await until(() => model.state === 'behind');
  await until(() => (model.fault ?? '').startsWith('The kernel that fed this view is gone'));
  await expect(model.interrupt()).rejects.toMatchObject({ code: 'kernel_gone' });
  expect(textOf(model.transcript)).toBe('one ');
});

test('a run that is over stays so when its kernel falls silent or goes', async () => {
  const { kernel, runs } = page({ silence: 30 });
  kernel.run(transcriptOf(RUN, [STARTED, ENDED(2)]));
  const model = runs.open(RUN);
  await until(() => model.state === 'ended');
  await pause(80);
  kernel.emit('comm_live_update');
  await pause(20);
  expect([model.state, model.fault]).toEqual(['ended', null]);
  expect(kernel.asked).toEqual([]);
});

test('a kernel that has lost the gateway is behind, one that was refused says why', async () => {
  const { kernel, runs } = page({ silence: 5_000 });
  kernel.run(transcriptOf(RUN, [STARTED]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.say('tick', { link: 'waiting' });
  await until(() => model.state === 'behind');
  kernel.say('tick', { link: 'refused', fault: 'The token does not hold any more.' });
  await until(() => model.state === 'refused');
  expect(model.fault).toBe('The token does not hold any more.');
});

test('a command is answered by the kernel, refused with its reason, or told to wait', async () => {
  const { kernel, runs } = page();
  kernel.run(transcriptOf(RUN, [STARTED]));
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  kernel.onAsked = ({ ask, clientId }) => ask === 'command' && kernel.answer(clientId, { result: null });
  await model.interrupt();
  expect(kernel.asked.at(-1)).toMatchObject({ ask: 'command', command: { type: 'interrupt', runId: RUN } });
  kernel.onAsked = ({ clientId }) => kernel.answer(clientId, { code: 'run_finished', message: 'It is over.' });
  await expect(model.interrupt()).rejects.toMatchObject({ code: 'run_finished', message: 'It is over.' });
  kernel.onAsked = () => undefined;
  await expect(model.interrupt()).rejects.toMatchObject({
    code: 'kernel_busy',
    message: 'The kernel has not answered yet: it is busy. It does this when it is free.'
  });
});

test('nothing is decided over a kernel unless it says that it may', async () => {
  const { kernel, gateway, runs } = page();
  const approval = { approvalId: 'a1', runId: RUN, toolCallId: 't1', toolName: 'run_cell', arguments: '{}' };
  const run = { ...transcriptOf(RUN, [STARTED]), approvals: [approval] } as unknown as CompactRun;
  kernel.run(run);
  const model = runs.open(RUN);
  await until(() => model.state === 'live');
  expect(gateway.mayDecide).toBe(false);
  await expect(model.decide('a1', { approved: true })).rejects.toMatchObject({ code: 'forbidden' });
  expect(kernel.asked).toEqual([]);
  kernel.run(run, { mayDecide: true });
  expect(gateway.mayDecide).toBe(true);
  kernel.onAsked = ({ clientId }) => kernel.answer(clientId, { result: null });
  await model.decide('a1', { approved: true });
  expect(kernel.asked.at(-1)).toMatchObject({
    command: { type: 'tool_confirmation', approvalId: 'a1', approved: true }
  });
});

test('a blob comes as bytes without a type', async () => {
  const { kernel, gateway } = page();
  kernel.onAsked = ({ clientId, digest }) =>
    digest === 'd'.repeat(64)
      ? kernel.answer(clientId, { result: null }, new DataView(new Uint8Array([0, 1, 2, 3]).buffer, 1, 2))
      : kernel.answer(clientId, { code: 'not_found', message: 'There is no such blob.' });
  const blob = await gateway.blob('d'.repeat(64));
  expect([...new Uint8Array(await blob.arrayBuffer()), blob.type]).toEqual([1, 2, '']);
  await expect(gateway.blob('e'.repeat(64))).rejects.toThrow('There is no such blob.');
});

test('what a kernel says may be anything', async () => {
  const { kernel, gateway, runs } = page();
  const model = runs.open(RUN);
  for (const said of [
    null,
    1,
    'run',
    [],
    {},
    { type: 'run' },
    { type: 'frames', n: 'x', text: 1 },
    { type: 'answer' }
  ]) {
    kernel.emit('msg:custom', said, null);
  }
  kernel.run({ ...transcriptOf(RUN, [STARTED]), runId: 'run_another' });
  kernel.say('run', { text: '{"runId":' });
  kernel.run(transcriptOf(RUN, [STARTED]));
  kernel.say('frames', { text: 'no JSON\n{}\nnull' });
  await until(() => model.state === 'live');
  gateway.connection.dispose();
  expect(kernel.listeners).toBe(0);
});
