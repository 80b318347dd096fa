/**
 * Tables of very many rows: what is asked for, what is drawn, and that nothing of it is more than text.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { makeView } from '../views';
import { Lines, readTold } from '../views/table-data';
import { listHeight, scrollTo, windowAt } from '../views/window';
import { words } from '../widget/words';
import { pause, until } from './peer';

const HOSTILE = '<img src=x onerror="window.__pwned=1">';
const LOOK = { sort: null, descending: false, search: '', tool: null, outcome: null, group: null };
const TOLD = {
  version: 1,
  total: 100_000,
  shown: 100_000,
  groups: null,
  columns: [
    { name: 'turn', kind: 'number' },
    { name: 'name', kind: 'name' },
    { name: 'outcome', kind: 'name' },
    { name: 'latency', kind: 'length' },
    { name: 'result', kind: 'text' }
  ],
  tools: ['run_cell', HOSTILE],
  outcomes: ['error', 'success'],
  longestMs: 6_000,
  look: LOOK,
  isCalls: true
};
const ROW = [3, HOSTILE, 'error', 6_000, HOSTILE];

interface ICommand {
  readonly type: string;
  readonly start?: number;
  readonly stop?: number;
  readonly at?: number;
  readonly look?: object;
}

let asked: ICommand[];

/** A kernel that has every row. */
async function answer(command: object): Promise<unknown> {
  const { type, start = 0, stop = 0, at = 0 } = command as ICommand;
  asked.push(command as ICommand);
  switch (type) {
    case 'rows':
      return { version: 1, rows: Array.from({ length: stop - start }, (_, row) => [start + row, ...ROW.slice(1)]) };
    case 'groups':
      return {
        version: 1,
        rows: [
          [HOSTILE, 0, 3, 1, 10, 20, 40],
          ['run_cell', 3, 7, 0, 10, 20, 40]
        ].slice(start, stop)
      };
    case 'row':
      return {
        version: 1,
        row: { turn: at, name: HOSTILE, arguments: `{"code": "${'x'.repeat(3)}"}`, result: HOSTILE }
      };
    default:
      return null;
  }
}

function shown(told: object = TOLD, ask: typeof answer | null = answer): HTMLElement {
  const view = makeView('traces', { words, ask })!;
  document.body.append(view.node);
  view.show(told);
  return view.node;
}

const rowsOf = (node: HTMLElement): HTMLElement[] => [...node.querySelectorAll<HTMLElement>('.jp-agent-Grid-row')];
const press = (node: HTMLElement, key: string): boolean =>
  node.querySelector('.jp-agent-Grid')!.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));

beforeEach(() => {
  asked = [];
});

afterEach(() => document.body.replaceChildren());

test('of 100,000 rows those on the screen are drawn, and those around them asked for', async () => {
  const node = shown();
  await until(() => rowsOf(node).some(row => row.textContent?.includes('6.0 s')));
  expect(rowsOf(node).length).toBeLessThan(40);
  expect(asked).toEqual([{ type: 'rows', start: 0, stop: 100 }]);
  expect(node.querySelector('[role=grid]')!.getAttribute('aria-rowcount')).toBe('100001');
  expect(node.textContent).toContain('100,000 tool calls');
  press(node, 'End');
  await until(() => rowsOf(node).some(row => row.textContent?.startsWith('99,999')));
  expect(asked.at(-1)).toEqual({ type: 'rows', start: 99_900, stop: 100_000 });
  const active = node.querySelector('[role=grid]')!.getAttribute('aria-activedescendant')!;
  expect(document.getElementById(active)!.getAttribute('aria-rowindex')).toBe('100001');
});

test('what tools are called and say is text everywhere, and a level is a word too', async () => {
  const node = shown();
  await until(() => rowsOf(node).some(row => row.textContent?.includes('6.0 s')));
  expect(rowsOf(node)[0]!.querySelector('.jp-agent-Level-mark')!.textContent).toContain('very slow');
  press(node, 'ArrowDown');
  press(node, 'Enter');
  const detail = node.querySelector<HTMLElement>('.jp-agent-Opened')!;
  await until(() => !detail.hidden);
  expect(detail.textContent).toContain(HOSTILE);
  expect(node.querySelector('img, script, a, iframe, [onerror]')).toBeNull();
  detail.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  expect(detail.hidden).toBe(true);
});

test('sorting, searching and grouping are asked of the kernel', async () => {
  const node = shown();
  node.querySelectorAll<HTMLElement>('.jp-agent-Grid-sort')[3]!.click();
  expect(asked.at(-1)).toEqual({ type: 'look', look: { ...LOOK, sort: 'latency' } });
  const search = node.querySelector<HTMLInputElement>('input')!;
  search.value = '.*';
  search.dispatchEvent(new Event('input'));
  await until(() => asked.some(({ look }) => (look as typeof LOOK | undefined)?.search === '.*'));
  const group = [...node.querySelectorAll('select')].at(-1)!;
  group.value = 'tool';
  group.dispatchEvent(new Event('change'));
  expect(asked.at(-1)).toMatchObject({ type: 'look', look: { group: 'tool' } });
});

test('groups are folded until somebody unfolds them', async () => {
  const node = shown({ ...TOLD, groups: 2, shown: 10, look: { ...LOOK, group: 'tool' } });
  await until(() => rowsOf(node).some(row => row.textContent?.includes('3 calls')));
  expect(rowsOf(node)).toHaveLength(2);
  press(node, 'ArrowDown');
  press(node, 'ArrowRight');
  await until(() => rowsOf(node).length === 5);
  expect(node.querySelector('[aria-expanded=true]')!.textContent).toContain('1 failed');
  press(node, 'ArrowLeft');
  await until(() => rowsOf(node).length === 2);
  expect(node.querySelector('img')).toBeNull();
});

test('a saved copy shows its first rows, says how many more, opens them, and asks nobody', async () => {
  const node = shown({ ...TOLD, rows: [ROW, ROW], opened: [{ name: HOSTILE, result: HOSTILE }] }, null);
  await until(() => rowsOf(node).length === 2);
  expect(node.textContent).toContain('Saved copy · the first 2 are here, 99,998 more were where it was made');
  expect(node.querySelector('input, select')).toBeNull();
  press(node, 'Home');
  press(node, 'Enter');
  await until(() => !node.querySelector<HTMLElement>('.jp-agent-Opened')!.hidden);
  expect(node.querySelector('.jp-agent-Opened')!.textContent).toContain(HOSTILE);
  expect(node.querySelector('img')).toBeNull();
  expect(asked).toEqual([]);
});

test.each([
  null,
  7,
  [],
  {},
  { columns: 7, rows: 'x', look: [], tools: {}, opened: 3 },
  { ...TOLD, rows: [[{}, [], null, 'x', 5], 7, null], opened: [null, 7], shown: -5, total: 'many', groups: 'x' },
  { ...TOLD, columns: [{ name: '__proto__', kind: 'constructor' }, 7], rows: [['x']] }
])('what is damaged does not break the view: %j', async told => {
  const node = shown(told as object, null);
  await pause(50);
  press(node, 'ArrowDown');
  press(node, 'Enter');
  await pause(20);
  expect(node.querySelector('.jp-agent-Grid')).not.toBeNull();
});

test('a copy that claims more than there can be shows what it holds, and can be scrolled', async () => {
  for (const many of [3e16, 1e21, 1e308]) {
    const node = shown({ ...TOLD, rows: [ROW], shown: many, total: many, groups: many }, null);
    await until(() => rowsOf(node).length === 1);
    const grid = node.querySelector<HTMLElement>('.jp-agent-Grid')!;
    grid.scrollTop = 4_000_000;
    grid.dispatchEvent(new Event('scroll'));
    press(node, 'End');
    await pause(50);
    expect(rowsOf(node)).toHaveLength(1);
    const { shown: rows, groups } = readTold({ shown: many, groups: many });
    expect(Number.isSafeInteger(rows) && Number.isSafeInteger(groups)).toBe(true);
  }
});

test('a row of very many columns opens with the first of them', async () => {
  const wide = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`c${at}`, at]));
  const node = shown({ ...TOLD, rows: [ROW], opened: [wide] }, null);
  await until(() => rowsOf(node).length === 1);
  press(node, 'Home');
  press(node, 'Enter');
  await until(() => !node.querySelector<HTMLElement>('.jp-agent-Opened')!.hidden);
  expect(node.querySelectorAll('dd')).toHaveLength(1_000);
});

test('a kernel that does not answer is said to be busy, and asked again', async () => {
  let isBusy = true;
  const node = shown(TOLD, async command => {
    if (isBusy) {
      throw new Error('The kernel is busy.');
    }
    return answer(command);
  });
  await until(() => node.textContent!.includes('The kernel is busy.'));
  isBusy = false;
  await until(() => rowsOf(node).some(row => row.textContent?.includes('6.0 s')));
});

describe('the arithmetic', () => {
  test.each([10, 100_000, 1_000_000, 50_000_000])(
    'of %i rows every one can be reached, and is where it is said to be',
    count => {
      const [row, seen] = [28, 400];
      const height = listHeight(count, row);
      expect(height).toBeLessThanOrEqual(8_000_000);
      for (const at of [0, 1, Math.floor(count / 2), count - 2, count - 1]) {
        const scrolled = scrollTo(at, 0, seen, count, row);
        const { from, to, top } = windowAt(scrolled, seen, count, row, 3);
        expect(from).toBeLessThanOrEqual(at);
        expect(to).toBeGreaterThan(at);
        const place = top + (at - from) * row - Math.max(0, Math.min(scrolled, height - seen));
        expect(place).toBeGreaterThan(-1);
        expect(place + row).toBeLessThan(seen + 1);
        expect(to - from).toBeLessThan(30);
      }
    }
  );

  test('lines of unfolded groups', () => {
    const lines = new Lines(10, 3);
    const group = (start: number, count: number) => ({
      ...{ label: '', errors: 0, medianMs: null, longestMs: null, totalMs: null },
      start,
      count
    });
    lines.open(2, group(7, 3));
    lines.open(0, group(0, 2));
    expect(Array.from({ length: lines.count }, (_, at) => lines.at(at))).toEqual([
      { group: 0 },
      { row: 0 },
      { row: 1 },
      { group: 1 },
      { group: 2 },
      { row: 7 },
      { row: 8 },
      { row: 9 }
    ]);
    lines.close(0);
    expect(lines.at(1)).toEqual({ group: 1 });
  });
});
