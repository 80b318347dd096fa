/**
 * The place of decisions: which cards stand there, for how long, and in what order.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { DecisionDock, FAREWELL } from '../decisions/dock';
import type { Approval, InputNeeded } from '../protocol';
import { approval, gateway, Person, words } from './deciding';
import { pause, until } from './peer';

let dock: DecisionDock;
let sent: unknown[][];
let fault: Error | null;

const one = (approvalId: string, toolName = approvalId): Approval =>
  approval({ approvalId, toolName, toolCallId: `call_${approvalId}` });
const question: InputNeeded = { requestId: 'inp_1', runId: 'run_a', prompt: 'Which sheet?' };

const cards = (): HTMLElement[] => [...dock.node.querySelectorAll<HTMLElement>('.jp-agent-Decision')];
const shown = (): string[] =>
  cards()
    .filter(({ hidden }) => !hidden)
    .map(card => card.querySelector('.jp-agent-Decision-title')?.textContent?.split(' ')[0] ?? '');
const person = (at = 0): Person => new Person(cards()[at] as HTMLElement);
const more = (): HTMLButtonElement => dock.node.querySelector('.jp-agent-Dock-more') as HTMLButtonElement;

beforeEach(() => {
  [sent, fault] = [[], null];
  const send = async (...what: unknown[]): Promise<void> => {
    sent.push(what);
    if (fault) {
      throw fault;
    }
  };
  dock = new DecisionDock({ words, gateway: gateway(), decide: send, answer: send });
  document.body.append(dock.node);
});

afterEach(() => {
  dock.dispose();
  expect(document.body.children).toHaveLength(0);
});

it('is not there while nothing waits', () => {
  expect(dock.node.hidden).toBe(true);
  dock.update([one('a')], []);
  expect(dock.node.hidden).toBe(false);
  expect(dock.node.getAttribute('role')).toBe('region');
});

it('opens the first and counts the others, which can be opened', () => {
  dock.update([one('a'), one('b')], [question]);
  expect(shown()).toEqual(['a']);
  expect(more().textContent).toBe('2 more wait');
  expect(more().getAttribute('aria-expanded')).toBe('false');
  more().click();
  expect(shown()).toEqual(['a', 'b', 'The']);
  more().click();
  expect(shown()).toEqual(['a']);
  dock.update([one('a'), one('b')], []);
  expect(more().textContent).toBe('1 more waits');
});

it('sends what was decided under its name', async () => {
  dock.update([one('a')], [question]);
  person().press('Reject');
  person().press('Reject it');
  more().click();
  person(1).write(dock.node.querySelector('[aria-label="Your answer"]'), 'The first.');
  person(1).press('Answer');
  expect(sent).toEqual([
    ['a', { approved: false }],
    ['inp_1', 'The first.']
  ]);
});

it('keeps cards, and what was typed, while other things come and go', async () => {
  dock.update([], [question]);
  const [card] = cards();
  const field = card?.querySelector('textarea') as HTMLTextAreaElement;
  person().write(field, 'half a sen');
  field.focus();
  dock.update([one('a')], [{ ...question }]);
  dock.update([one('b')], [{ ...question }]);
  dock.update([], [{ ...question }]);
  expect(cards()[0]).toBe(card);
  expect(field.value).toBe('half a sen');
  expect(document.activeElement).toBe(field);
});

it('says how something ended, for a while, and opens the next', async () => {
  dock.update([one('a'), one('b')], []);
  let isEmptied = false;
  dock.emptied.connect(() => (isEmptied = true));
  dock.update([one('b')], [], id => (id === 'call_a' ? 'reject' : null));
  expect(person().status).toBe('It was rejected elsewhere meanwhile.');
  expect(shown()).toEqual(['a', 'b']);
  expect(more().hidden).toBe(true);
  dock.update([], []);
  expect(person(1).status).toContain('does not wait any more');
  await pause(FAREWELL - 1_500);
  expect(cards()).toHaveLength(2);
  expect(isEmptied).toBe(false);
  await until(() => cards().length === 0);
  expect(dock.isEmpty && dock.node.hidden && isEmptied).toBe(true);
});

it('lets what was decided here say so itself', async () => {
  dock.update([one('a')], []);
  person().press('Reject');
  person().press('Reject it');
  await until(() => person().status === 'You rejected it.');
  dock.update([], [], () => 'reject');
  expect(person().status).toBe('You rejected it.');
});

it('makes a new card for what waits again after it was gone', () => {
  dock.update([one('a')], []);
  const [gone] = cards();
  dock.update([], []);
  dock.update([one('a')], []);
  expect(cards()).toHaveLength(1);
  expect(cards()[0]).not.toBe(gone);
  expect(person().may('Reject')).toBe(true);
});

it('keeps the focus in its place when the card that has it goes', async () => {
  dock.update([one('a'), one('b')], []);
  person().press('Reject');
  expect(cards()[0]?.contains(document.activeElement)).toBe(true);
  dock.update([one('b')], []);
  await until(() => cards().length === 1);
  expect(document.activeElement).toBe(dock.node);
});

it('leaves a decision that failed where it can be made again', async () => {
  fault = new Error('The connection was lost.');
  dock.update([one('a')], []);
  person().press('Reject');
  person().press('Reject it');
  await until(() => person().status.includes('The connection was lost.'));
  dock.update([one('a')], []);
  expect(person().may('Reject it')).toBe(true);
});
