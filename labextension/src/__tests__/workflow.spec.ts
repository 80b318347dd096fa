/**
 * Calls of a workflow: in which phase they stand and how, why they were reused or not, what opens; and that nothing of it is
 * more than text.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { DisposableDelegate } from '@lumino/disposable';

import { makeView, openedIn } from '../views';
import { countsOf, linesOf, readWorkflow, sectionsOf } from '../views/workflow-data';
import { words } from '../widget/words';
import { pause, until } from './peer';

const HOSTILE = '<img src=x onerror="window.__pwned=1">';
const ROWS = [
  { number: 1, name: 'stock', phase: 'Read', status: 'done', reused: true, why: 'unchanged', savedTokens: 900 },
  {
    number: 2,
    name: 'merge',
    phase: 'Merge',
    status: 'done',
    reused: false,
    why: 'prompt changed',
    change: 'survey → weather',
    tokens: 1_200,
    cost: 0.25,
    seconds: 2,
    tries: 3,
    runId: 'run_1'
  },
  { number: 3, name: 'orders', phase: 'Read', status: 'running', reused: false, why: 'first time', seconds: 4 },
  { number: 4, name: 'gate', phase: 'Merge', status: 'waiting' },
  { number: 5, name: HOSTILE, phase: HOSTILE, status: 'failed', error: HOSTILE, why: HOSTILE }
];
const SUMS = {
  calls: 5,
  reused: 1,
  done: 2,
  running: 1,
  queued: 0,
  waiting: 1,
  failed: 1,
  tokens: 1_200,
  cost: 0.25,
  savedTokens: 900,
  savedCost: 0.5
};
const TOLD = {
  title: 'notes: 1 of 5 calls from the store',
  sums: SUMS,
  seconds: 12,
  at: new Date().toISOString(),
  log: ['Phase Read', HOSTILE],
  earlierLog: 7,
  leftOut: 0,
  rows: ROWS,
  opened: { 2: { prompt: HOSTILE, answer: `# ${HOSTILE}`, field: 'prompt', was: 'old words', now: HOSTILE } }
};
const WHOLE = { prompt: 'Merge it.', answer: '{"a": [1, 2]}', field: 'prompt', was: 'old words', now: 'new words' };

interface ICommand {
  readonly type: string;
  readonly number?: number;
}

let asked: ICommand[];
let runs: string[];

async function answer(command: object): Promise<unknown> {
  asked.push(command as ICommand);
  return (command as ICommand).type === 'call' ? WHOLE : 1;
}

function shown(told: unknown = TOLD, ask: typeof answer | null = answer) {
  const showRun = (runId: string, place: HTMLElement): DisposableDelegate => {
    runs.push(runId);
    place.append(document.createElement('section'));
    return new DisposableDelegate(() => runs.push(`${runId} gone`));
  };
  const view = makeView('workflow', { words, ask, showRun })!;
  document.body.append(view.node);
  view.show(told);
  return view;
}

const rowsOf = (node: HTMLElement): string[] =>
  [...node.querySelectorAll<HTMLElement>('.jp-agent-Grid-row')]
    .sort((one, other) => Number(one.dataset.at) - Number(other.dataset.at))
    .map(row => row.textContent!);
const press = (node: HTMLElement, ...keys: string[]): void =>
  keys.forEach(key =>
    node.querySelector('.jp-agent-Grid')!.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))
  );
const button = (node: HTMLElement, text: string): HTMLButtonElement =>
  [...node.querySelectorAll('button')].find(one => one.textContent === text)!;

beforeEach(() => {
  asked = [];
  runs = [];
});

afterEach(() => document.body.replaceChildren());

test('a call of which nothing comes is stalled, and says for how long', async () => {
  const silent = { number: 1, name: 'slow', status: 'running', why: 'first time', seconds: 600, silent: 420 };
  const view = shown({ ...TOLD, rows: [silent] });
  await until(() => rowsOf(view.node).length > 0);
  const row = rowsOf(view.node).find(text => text.includes('slow'));
  expect(row).toContain('stalled');
  expect(row).toContain('nothing has come for 7 min');
  expect(row).toContain('first time');
  view.dispose();
});

test('calls stand in their phases, with how they stand and why', async () => {
  const view = shown();
  await until(() => rowsOf(view.node).length === 8);
  const rows = rowsOf(view.node);
  expect(rows[0]).toContain('Read1 of 2 from the store · 1 running');
  expect(rows[1]).toContain('stock●from the storeunchanged900 saved');
  expect(rows[2]).toContain('orders▸runningfirst time');
  expect(rows[3]).toContain('Merge0 of 2 from the store · 1 waits for a person');
  expect(rows[4]).toContain('merge✓ran live, 3 triesprompt changed: survey → weather1,200$0.25002.0 s');
  expect(rows[5]).toContain('gate?waits for a person');
  expect(rows[7]).toContain(`✗failed${HOSTILE} · ${HOSTILE}`);
  expect(view.node.textContent).toContain('notes: 1 of 5 calls from the store');
  expect(view.node.textContent).toContain('1,200 ($0.2500) tokens spent900 ($0.5000) saved12 s');
  expect(view.node.querySelector('[role=treegrid]')!.getAttribute('aria-rowcount')).toBe('9');
  expect(view.node.querySelector('img, script, iframe, a, [onerror]')).toBeNull();
  view.dispose();
});

test('a phase folds, and its calls are not on the page', async () => {
  const view = shown();
  await until(() => rowsOf(view.node).length === 8);
  press(view.node, 'Home', 'ArrowLeft');
  await until(() => rowsOf(view.node).length === 6);
  expect(view.node.querySelector('.jp-agent-Grid-row')!.getAttribute('aria-expanded')).toBe('false');
  view.show({ ...TOLD });
  await pause(250);
  expect(rowsOf(view.node).length).toBe(6);
  press(view.node, 'Enter');
  await until(() => rowsOf(view.node).length === 8);
  view.dispose();
});

test('a call opens with both values, its answer and its run, and stays open while it goes on', async () => {
  const view = shown();
  await until(() => rowsOf(view.node).length === 8);
  press(view.node, 'Home', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter');
  await until(() => view.node.textContent!.includes('prompt before'));
  expect(asked).toEqual([{ type: 'call', number: 2 }]);
  const opened = view.node.querySelector<HTMLElement>('.jp-agent-Opened')!;
  expect(opened.textContent).toContain('old words');
  expect(opened.textContent).toContain('new words');
  expect(opened.textContent).toContain('Merge it.');
  button(view.node, 'Show its run').click();
  expect(runs).toEqual(['run_1']);
  expect(opened.querySelector<HTMLElement>('.jp-agent-Opened-content')!.hidden).toBe(true);
  expect(openedIn(document.body)).toEqual({ number: 2, hasRun: true });
  view.show({ ...TOLD, rows: ROWS.map(row => (row.number === 2 ? { ...row, status: 'failed', error: 'No.' } : row)) });
  await until(() => asked.length === 2);
  await pause(20);
  expect(runs).toEqual(['run_1']);
  opened.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  expect(opened.hidden).toBe(true);
  expect(runs).toEqual(['run_1', 'run_1 gone']);
  expect(openedIn(document.body)).toBeNull();
  view.dispose();
});

test('a call that waits for a person opens with its run, where it is answered', async () => {
  const rows = ROWS.map(row => (row.number === 4 ? { ...row, runId: 'run_2' } : row));
  const view = shown({ ...TOLD, rows });
  await until(() => rowsOf(view.node).length === 8);
  press(view.node, 'Home', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter');
  await until(() => runs.length === 1);
  expect(runs).toEqual(['run_2']);
  button(view.node, 'Hide its run').click();
  view.show({ ...TOLD, rows: rows.map(row => (row.number === 4 ? { ...row, status: 'running' } : row)) });
  await until(() => asked.length === 2);
  await pause(20);
  expect(runs).toEqual(['run_2', 'run_2 gone']);
  view.dispose();
});

test('what goes on can be stopped, where somebody hears it', async () => {
  const view = shown();
  const stop = button(view.node, 'Stop');
  stop.click();
  expect(asked).toEqual([{ type: 'stop' }]);
  expect([stop.disabled, stop.textContent]).toEqual([true, 'Stopping …']);
  view.show({ ...TOLD, sums: { ...SUMS, running: 0, waiting: 0 } });
  await until(() => stop.hidden);
  view.dispose();
  const copy = shown(TOLD, null);
  expect(button(copy.node, 'Stop').hidden).toBe(true);
  copy.dispose();
});

test('a copy opens what it kept, as text, and says what was going on when it is old', async () => {
  const view = shown(TOLD, null);
  await until(() => rowsOf(view.node).length === 8);
  expect(rowsOf(view.node)[2]).toContain('▸running');
  press(view.node, 'Home', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter');
  await until(() => view.node.textContent!.includes('prompt before'));
  expect(view.node.querySelector('img, script, iframe, [onerror]')).toBeNull();
  expect(view.node.querySelector('.jp-agent-Opened')!.textContent).toContain(HOSTILE);
  view.dispose();
  const old = shown({ ...TOLD, at: '2020-01-01T00:00:00Z', leftOut: 3 }, null);
  await until(() => rowsOf(old.node).length === 8);
  expect(rowsOf(old.node)[2]).toContain('was running');
  expect(old.node.textContent).toContain('the first 5 calls are here, 3 more are not');
  await old.open!({ number: 2, hasRun: true });
  expect(runs).toEqual(['run_1']);
  old.dispose();
});

test('times of what goes on go on between two tellings, those in a copy do not', async () => {
  const view = shown();
  const copy = shown(TOLD, null);
  await until(() => view.node.textContent!.includes('saved13 s'));
  await until(() => rowsOf(view.node)[2]!.includes('5.'));
  expect(copy.node.textContent).toContain('saved12 s');
  expect(rowsOf(copy.node)[2]).toContain('4.0 s');
  view.dispose();
  copy.dispose();
});

test('without phases there are no heads, and without prices no costs', async () => {
  const rows = ROWS.map(({ number, name, status }) => ({ number, name, status }));
  const view = shown({ ...TOLD, rows });
  await until(() => rowsOf(view.node).length === 5);
  expect(view.node.querySelector('[role=grid]')!.getAttribute('aria-colcount')).toBe('6');
  view.dispose();
});

test('a thousand calls cost no more than those on the screen, and are drawn ten times a second at most', async () => {
  const rows = Array.from({ length: 1_000 }, (_, at) => ({ ...ROWS[0], number: at + 1, name: `call ${at}` }));
  const view = shown({ ...TOLD, rows });
  let paintings = 0;
  new MutationObserver(() => (paintings += 1)).observe(view.node.querySelector('.jp-agent-Workflow-figures')!, {
    childList: true
  });
  const began = Date.now();
  for (let at = 0; at < 100; at += 1) {
    view.show({ ...TOLD, rows, seconds: at });
    await pause(5);
  }
  await until(() => view.node.textContent!.includes('1 min 39 s'));
  expect(paintings).toBeLessThanOrEqual((Date.now() - began) / 100 + 2);
  expect(view.node.querySelectorAll('.jp-agent-Grid-row').length).toBeLessThan(60);
  view.dispose();
});

test.each([null, 7, [], { rows: 7 }, { rows: [7, null, [], { status: 'constructor', phase: {} }], sums: [], log: 7 }])(
  'what is damaged (%j) does not break it',
  async told => {
    const view = shown(told, null);
    await pause(30);
    press(view.node, 'Home', 'Enter', 'ArrowLeft');
    expect(view.node.isConnected).toBe(true);
    view.dispose();
  }
);

test('what is told is read as calls, lines and counts', () => {
  const { calls, sums } = readWorkflow(TOLD);
  expect(calls.map(({ state }) => state)).toEqual(['store', 'live', 'running', 'waiting', 'failed']);
  expect(sums.counts).toEqual({ store: 1, live: 1, running: 1, queued: 0, waiting: 1, failed: 1 });
  expect(countsOf(calls)).toEqual(sums.counts);
  const sections = sectionsOf(calls);
  expect(sections.map(({ phase, calls }) => [phase, calls.map(({ number }) => number)])).toEqual([
    ['Read', [1, 3]],
    ['Merge', [2, 4]],
    [HOSTILE, [5]]
  ]);
  expect(linesOf(sections, new Set(['Read'])).length).toBe(6);
});
