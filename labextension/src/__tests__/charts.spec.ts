/**
 * Charts of runs, and runs side by side: what is judged has a word, and nothing of what is told is more than text.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { makeView } from '../views';
import { words } from '../widget/words';
import { pause, until } from './peer';

const HOSTILE = '<img src=x onerror="window.__pwned=1">';
const AT = '2026-01-01T00:00:00Z';
const TURN = { kind: 'turn', turn: 0, name: HOSTILE, started_at: AT, duration: 6_000, outcome: 'stop' };
const CALL = {
  kind: 'tool_call',
  turn: 0,
  name: HOSTILE,
  started_at: '2026-01-01T00:00:06Z',
  duration: 2_000,
  outcome: HOSTILE
};
const TOKENS = { input_tokens: 1_000, cache_read_tokens: 400, output_tokens: 50, reasoning_tokens: 20 };
const TOLD: Readonly<Record<string, object>> = {
  timeline: { title: HOSTILE, earlier: 3, rows: [{ ...TURN, ...TOKENS }, CALL] },
  cache: {
    title: HOSTILE,
    earlier: 0,
    rows: [
      { turn: 0, ...TOKENS, hit_rate: 0.4, cause: HOSTILE, region: HOSTILE, before: HOSTILE, after: HOSTILE },
      { turn: 1, input_tokens: 1_000, cache_read_tokens: 700, hit_rate: 0.7 },
      { turn: 2, input_tokens: 1_000, cache_read_tokens: 0, hit_rate: 0 },
      { turn: 3, input_tokens: null, hit_rate: null }
    ]
  },
  compare: {
    title: HOSTILE,
    rows: [
      {
        run_id: HOSTILE,
        status: HOSTILE,
        model: HOSTILE,
        answer: HOSTILE,
        turns: 3,
        duration: 10,
        first_difference: null
      }
    ]
  }
};

function shown(kind: string, told: object, ask: ((command: object) => Promise<unknown>) | null = null): HTMLElement {
  const view = makeView(kind, { words, ask })!;
  document.body.append(view.node);
  view.show(told);
  return view.node;
}

const press = (node: HTMLElement, key: string): boolean | undefined =>
  node.querySelector('.jp-agent-Grid')?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));

afterEach(() => document.body.replaceChildren());

test.each(Object.keys(TOLD))('what is told of a %s is text, opened too', async kind => {
  const node = shown(kind, TOLD[kind]!);
  await pause(50);
  press(node, 'Home');
  press(node, 'Enter');
  await pause(20);
  expect(node.textContent).toContain(HOSTILE);
  expect(node.querySelector('img, script, a, iframe, [onerror]')).toBeNull();
});

test('hit rates are judged in words', async () => {
  const node = shown('cache', TOLD.cache!);
  await until(() => node.textContent!.includes('70 % good'));
  expect(node.textContent).toContain('40 % fair');
  expect(node.textContent).toContain('0 % poor');
  expect(node.textContent).toContain('unknown');
  expect([...node.querySelectorAll('[data-level]')].map(mark => mark.getAttribute('data-level'))).toEqual([
    'fair',
    'good',
    'poor'
  ]);
});

test('bars stand where the calls were, and a press tells which of all rows it was', async () => {
  const asked: object[] = [];
  const node = shown('timeline', TOLD.timeline!, async command => asked.push(command));
  await until(() => node.querySelectorAll('.jp-agent-Timeline-bar').length === 2);
  const [turn, call] = [...node.querySelectorAll<HTMLElement>('.jp-agent-Timeline-bar')];
  expect([turn!.style.left, turn!.style.width, call!.style.left, call!.style.width]).toEqual([
    '0.00%',
    '75.00%',
    '75.00%',
    '25.00%'
  ]);
  expect(node.textContent).toContain('1,000 in, 400 cached, 50 out, 20 reasoning');
  expect(node.textContent).toContain('3 earlier rows left out here');
  press(node, 'End');
  press(node, 'Enter');
  expect(asked).toEqual([{ type: 'select', at: 4 }]);
});

test.each(Object.keys(TOLD))('what is damaged does not break a %s', async kind => {
  for (const told of [
    null,
    7,
    [],
    { rows: 7 },
    { title: {}, rows: [7, null, [], { duration: 'x', started_at: 5, hit_rate: {} }] }
  ]) {
    const node = shown(kind, told as object);
    await pause(30);
    press(node, 'Home');
    press(node, 'Enter');
    expect(node.isConnected).toBe(true);
  }
});

test('what runs took is in proportion', () => {
  const rows = [8_000, 2_000, null].map(duration => ({ status: 'completed', duration }));
  const node = shown('compare', { title: 'Runs', rows });
  const bars = [...node.querySelectorAll<HTMLElement>('.jp-agent-Bar-fill')];
  expect(bars.map(bar => bar.style.width)).toEqual(['100%', '25%']);
});

test('runs that no kernel would compare, and states that there are not, cost no more than others', () => {
  const rows = Array.from({ length: 100_000 }, () => ({ status: 'constructor' }));
  const node = shown('compare', { title: 'Runs', rows });
  expect(node.querySelectorAll('thead th')).toHaveLength(21);
  expect(node.querySelector('tbody td')!.textContent).toBe('constructor');
});

test('two modules in a page, as of two widgets, have no id in common', async () => {
  shown('timeline', TOLD.timeline!);
  jest.isolateModules(() => {
    const other = (jest.requireActual('../views') as { makeView: typeof makeView }).makeView('timeline', {
      words,
      ask: null
    })!;
    document.body.append(other.node);
    other.show(TOLD.timeline);
  });
  await until(() => document.querySelectorAll('.jp-agent-Grid-row').length === 4);
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length).toBeGreaterThan(5);
});
