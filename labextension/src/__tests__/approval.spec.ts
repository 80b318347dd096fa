/**
 * The card of a tool call: what it shows, and when it can be approved.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { ApprovalCard } from '../decisions/approval';
import type { Approval } from '../protocol';
import type { IDecision, IGateway } from '../tokens';
import { approval, before, gateway, Pending, Person, words } from './deciding';
import { pause, until } from './peer';

const ARMED = 600;

let cards: ApprovalCard[];
let decided: IDecision[];

function show(one: Approval = approval(), through: IGateway = gateway(), deed?: Promise<void>): [ApprovalCard, Person] {
  const decide = async (decision: IDecision): Promise<void> => {
    decided.push(decision);
    await deed;
  };
  const card = new ApprovalCard(one, { words, gateway: through, decide });
  cards.push(card);
  return [card, before(card)];
}

async function armed(one?: Approval, deed?: Promise<void>): Promise<[ApprovalCard, Person]> {
  const [card, person] = show(one, gateway(), deed);
  await until(() => person.end !== null);
  person.read();
  await until(() => person.may('Approve'));
  return [card, person];
}

beforeEach(() => {
  [cards, decided] = [[], []];
});

afterEach(() => {
  cards.forEach(card => card.dispose());
  expect(document.body.children).toHaveLength(0);
});

const create = (argumentsGiven: object): Approval =>
  approval({
    toolName: 'create_file',
    effects: ['write'],
    preview: { tool: 'create_file', arguments: argumentsGiven, path: 'a.txt', bytes: 3, hash: 'h' }
  });

describe('approving', () => {
  it('can be done half a second after all was in view, by a click', async () => {
    const [card, person] = show();
    await until(() => person.end !== null);
    await pause(ARMED);
    expect(person.may('Approve')).toBe(false);
    person.read();
    expect(person.may('Approve')).toBe(false);
    person.press('Approve');
    expect(decided).toEqual([]);
    await until(() => person.may('Approve'));
    person.press('Approve');
    await until(() => card.isOver);
    expect(decided).toEqual([{ approved: true }]);
    expect(person.status).toBe('You approved it.');
  });

  it('needs the end in view for the whole of that time', async () => {
    const [, person] = show();
    await until(() => person.end !== null);
    person.read();
    await pause(50);
    person.end.reveal(false);
    await pause(ARMED);
    expect(person.may('Approve')).toBe(false);
    person.end.reveal();
    await until(() => person.may('Approve'));
  });

  it('needs what was passed over on the way to the end', async () => {
    const code = Array.from({ length: 100 }, (_, line) => `step_${line}()`).join('\n');
    const [, person] = show(approval({ preview: { code, hash: 'h' } }));
    await until(() => person.end !== null);
    const [first, ...others] = person.marks;
    expect(others.length).toBeGreaterThan(10);
    others.forEach(mark => mark.reveal());
    person.end.reveal();
    await pause(ARMED);
    expect(person.may('Approve')).toBe(false);
    expect(person.status).toBe('A part was passed over: read it too, then you may approve.');
    expect(person.may('Show what was passed over')).toBe(true);
    first?.reveal();
    await until(() => person.may('Approve'));
    expect(person.button('Show what was passed over').hidden).toBe(true);
  });

  it('is not done by Enter, and nothing takes the focus', async () => {
    const [, person] = await armed();
    expect(document.activeElement).toBe(document.body);
    person.button('Approve').focus();
    expect(person.key(person.button('Approve'), 'Enter')).toBe(false); // so that the browser does not click
    expect(person.key(person.button('Approve'), ' ')).toBe(true);
    expect(decided).toEqual([]);
  });

  it('is done once, however often it is pressed', async () => {
    const pending = new Pending();
    const [card, person] = await armed(approval(), pending.promise);
    person.press('Approve');
    person.press('Approve');
    person.press('Reject');
    expect(person.may('Approve') || person.may('Reject')).toBe(false);
    expect(person.status).toBe('On its way…');
    pending.resolve();
    await until(() => card.isOver);
    expect(decided).toHaveLength(1);
  });

  it('that fails says why and can be done again', async () => {
    const pending = new Pending();
    const [, person] = await armed(approval(), pending.promise);
    person.press('Approve');
    pending.reject(new Error('The connection was lost.'));
    await until(() => person.may('Approve'));
    expect(person.status).toBe('This was not carried out: The connection was lost.');
    expect(person.may('Reject')).toBe(true);
  });

  it('has the last word where somebody else is told of it first', async () => {
    const pending = new Pending();
    const [card, person] = await armed(approval(), pending.promise);
    person.press('Approve');
    card.end('It was approved elsewhere meanwhile.');
    expect(card.isOver).toBe(false);
    pending.resolve();
    await until(() => card.isOver);
    expect(person.status).toBe('You approved it.');
  });

  it('comes too late after somebody else decided', async () => {
    const [card, person] = await armed();
    card.end('It was rejected elsewhere meanwhile.');
    person.press('Approve');
    expect(decided).toEqual([]);
    expect(person.may('Approve')).toBe(false);
    expect(person.status).toBe('It was rejected elsewhere meanwhile.');
  });

  it('may cover later writes, and never what executes or goes out', async () => {
    const [, person] = await armed(create({ path: 'a.txt', content: 'abc' }));
    const [tick] = document.querySelectorAll<HTMLInputElement>('.jp-agent-Decision-remember input');
    expect(person.text('.jp-agent-Decision-remember')).toBe('also later writes of this run with create_file');
    tick?.click();
    person.press('Approve');
    expect(decided).toEqual([{ approved: true, remember: 'run' }]);
    for (const effects of [['exec'], ['write', 'network'], ['read'], []] as const) {
      show(approval({ effects }));
    }
    expect(document.querySelectorAll('.jp-agent-Decision-remember')).toHaveLength(1);
  });
});

describe('rejecting', () => {
  it('asks for a reason, which may be left out', async () => {
    const [card, person] = show();
    person.press('Reject');
    expect(document.activeElement).toBe(document.querySelector('[aria-label="Reason"]'));
    person.press('Reject it');
    await until(() => card.isOver);
    const [, other] = show();
    other.press('Reject');
    other.write(document.activeElement, ' Not here. ');
    other.key(document.activeElement, 'Enter', { shiftKey: true });
    expect(decided).toEqual([{ approved: false }]);
    other.key(document.activeElement, 'Enter');
    expect(decided).toEqual([{ approved: false }, { approved: false, reason: 'Not here.' }]);
  });

  it('is left by Escape, which goes back to where one came from', () => {
    const [card, person] = show();
    const outside = jest.fn();
    document.addEventListener('keydown', outside);
    person.press('Reject');
    person.key(document.activeElement, 'Escape');
    expect(person.may('Reject')).toBe(true);
    expect(document.activeElement).toBe(person.button('Reject'));
    expect(outside).not.toHaveBeenCalled();
    person.key(document.activeElement, 'Escape');
    expect(outside).toHaveBeenCalledTimes(1);
    document.removeEventListener('keydown', outside);
    expect(card.back()).toBe(false);
  });
});

describe('editing', () => {
  // What JSON.parse makes of the name is an argument like any other.
  const parsed = JSON.parse('{"path": "a.txt", "content": "one\\r\\ntwo", "mode": 420, "__proto__": "x"}') as object;
  const fields = (): NodeListOf<HTMLTextAreaElement> => document.querySelectorAll('.jp-agent-Decision-edit [id]');
  const field = (name: string): HTMLTextAreaElement =>
    [...document.querySelectorAll('label')].find(({ firstChild }) => firstChild?.textContent === name)
      ?.nextElementSibling as HTMLTextAreaElement;

  it('needs the picture to be read, changes the arguments, and leaves the others as they were', async () => {
    const [, person] = show(create(parsed));
    expect(person.may('Edit')).toBe(false);
    await until(() => person.end !== null);
    person.read();
    await until(() => person.may('Edit'));
    person.press('Edit');
    expect(document.activeElement).toBe(field('path'));
    expect([field('path').tagName, field('content').tagName]).toEqual(['INPUT', 'TEXTAREA']);
    expect(fields().length).toBeGreaterThan(3);
    expect(person.may('Approve with changes')).toBe(false);
    expect(person.status).toBe('Nothing is changed yet.');
    person.write(field('path'), 'b.txt');
    expect(person.key(person.button('Approve with changes'), 'Enter')).toBe(false);
    person.press('Approve with changes');
    expect(decided).toEqual([
      { approved: true, arguments: '{"path":"b.txt","content":"one\\r\\ntwo","mode":420,"__proto__":"x"}' }
    ]);
  });

  it('sends what was not touched, and what was typed, digit by digit', async () => {
    const sent = '{"id": 12345678901234567891, "huge": 1e400, "size": 1.0, "path": "a", "list": [1.50, 2]}';
    const preview = { arguments: { ...(JSON.parse(sent) as object), more: null }, hash: 'h' };
    const [, person] = await armed(approval({ preview, arguments: sent }));
    person.press('Edit');
    expect(field('id').value).toBe('12345678901234567891');
    expect(field('list').value).toBe('[1.50, 2]');
    person.write(field('path'), 'b');
    person.write(field('size'), '98765432109876543210');
    person.press('Approve with changes');
    expect(decided[0]?.arguments).toBe(
      '{"id":12345678901234567891,"huge":1e400,"size":98765432109876543210,"path":"b","list":[1.50, 2],"more":null}'
    );
  });

  it('does not take the words of another call', async () => {
    const [, person] = await armed(
      approval({ preview: { arguments: { a: 1, b: 2 }, hash: 'h' }, arguments: '{"a": 3}' })
    );
    person.press('Edit');
    person.write(field('b'), '4');
    person.press('Approve with changes');
    expect(decided[0]?.arguments).toBe('{"a":1,"b":4}');
  });

  it('says what is wrong with JSON, and blocks', async () => {
    const [, person] = await armed(create(parsed));
    person.press('Edit');
    person.write(field('mode'), '{"a": ');
    expect(person.may('Approve with changes')).toBe(false);
    expect(person.text('[data-tone="fault"]')).toContain('This is no JSON');
    expect(person.status).toBe('Correct what is marked.');
    person.write(field('mode'), ' ');
    expect(person.text('[data-tone="fault"]')).toContain('The argument is missing');
    person.write(field('mode'), '[1]');
    expect(person.may('Approve with changes')).toBe(true);
    person.press('Undo changes');
    expect(person.may('Approve with changes')).toBe(false);
    expect(field('mode').value).toBe('420');
    person.key(field('mode'), 'Escape');
    expect(person.may('Approve')).toBe(true);
    expect(document.activeElement).toBe(person.button('Edit'));
  });

  it('tells of characters that cannot be seen', async () => {
    const [, person] = await armed(create({ path: 'a\u202e.txt' }));
    person.press('Edit');
    person.write(field('path'), 'b\u202e.txt');
    expect(person.text('.jp-agent-Decision-fault')).toBe('It holds characters that cannot be seen: ⟨U+202E⟩');
  });

  it('of very many arguments is one JSON text that must keep their names', async () => {
    const many = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`a${at}`, at]));
    const [, person] = await armed(approval({ preview: { arguments: many, hash: 'h' } }));
    person.press('Edit');
    const text = document.querySelector('.jp-agent-Decision-edit textarea');
    const faults: readonly [unknown, string][] = [
      [[1], 'Write one JSON object: {"name": value, …}.'],
      [{ ...many, a7: undefined }, 'The argument a7 is missing.'],
      [{ ...many, b: 1 }, 'The call has no argument b.']
    ];
    for (const [value, fault] of faults) {
      person.write(text, JSON.stringify(value));
      expect(person.text('.jp-agent-Decision-fault')).toBe(fault);
      expect(person.may('Approve with changes')).toBe(false);
    }
    person.write(text, JSON.stringify({ ...many, a7: 'x' }));
    person.press('Approve with changes');
    expect(JSON.parse(decided[0]?.arguments ?? '')).toEqual({ ...many, a7: 'x' });
  });

  it('is not offered where the arguments are not known', async () => {
    const [, person] = await armed(approval({ preview: { code: '1', hash: 'h' } }));
    expect(person.may('Edit')).toBe(false);
  });
});

describe('the picture', () => {
  it('shows the words of a model as text, and what cannot be seen', async () => {
    const code = 'print("\u202e")<img src=x onerror="window.pwned = 1"><button>Approve</button>';
    const preview = { code, invisible: { 'U+202E RIGHT-TO-LEFT OVERRIDE': 1 }, warning: 'It <b>may</b> have run.' };
    const [, person] = show(approval({ preview, toolName: 'run\u200b_cell' }));
    await until(() => person.end !== null);
    expect(document.querySelectorAll('.jp-agent-Picture :is(img, button, b)')).toHaveLength(0);
    expect(person.text('.jp-agent-Picture')).toContain(code.replace('\u202e', '⟨U+202E⟩'));
    expect(person.text('.jp-agent-Picture')).toContain('U+202E RIGHT-TO-LEFT OVERRIDE × 1');
    expect(person.text('.jp-agent-Picture')).toContain('It <b>may</b> have run.');
    expect(person.text('.jp-agent-Decision-title')).toBe('run⟨U+200B⟩_cell wants to execute code');
  });

  it('of a tool without one shows every argument', async () => {
    const preview = { tool: 'send', arguments: { to: 'a@b.example', body: { lines: ['x'] } }, hash: 'h' };
    const [, person] = show(approval({ preview }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Picture')).toContain('a@b.example');
    expect(person.text('.jp-agent-Picture')).toContain('"lines"');
  });

  it('of a gate is what the workflow asks', async () => {
    const given = { title: 'Merge <b>it</b>?', detail: 'All of\n2.' };
    const preview = { tool: 'gate', arguments: given, hash: 'h' };
    const [, person] = show(approval({ toolName: 'gate', effects: [], preview }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Decision-title')).toBe('A workflow asks for your decision');
    expect(person.text('.jp-agent-Picture')).toContain('Merge <b>it</b>?');
    const names = [...document.querySelectorAll('.jp-agent-Picture-name')].map(({ textContent }) => textContent);
    expect(names).toEqual(['Question', 'Detail']);
  });

  it('of a tool that is only called so is that of a tool', async () => {
    const preview = { tool: 'gate', arguments: { title: 'x' }, hash: 'h' };
    const [, person] = show(approval({ toolName: 'gate', effects: ['exec'], preview }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Decision-title')).toBe('gate wants to execute code');
    expect(person.text('.jp-agent-Picture-name')).toBe('title');
  });

  it('shows all of a text, in its order', async () => {
    const code = Array.from({ length: 120 }, (_, line) => `line ${line} ${'é'.repeat(line === 77 ? 1_500 : 3)}`);
    const [, person] = show(approval({ preview: { code: code.join('\n'), hash: 'h' } }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Picture pre').trimEnd()).toBe(code.join('\n'));
  });

  it('counts empty lines that would push the rest away', async () => {
    const [, person] = show(approval({ preview: { code: `one${'\n \t'.repeat(10_000)}\nrm()`, hash: 'h' } }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Picture pre')).toBe('one\n⟨10000 empty lines⟩\nrm()\n');
    expect(person.marks).toHaveLength(1);
  });

  it('writes out signs that pile up on the lines around', async () => {
    const [, person] = show(approval({ preview: { code: `e\u0301 a${'\u0336'.repeat(40)}`, hash: 'h' } }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Picture pre')).toContain('e\u0301 a⟨U+0336⟩⟨U+0336⟩');
  });

  it('marks what a diff adds and removes', async () => {
    const preview = { path: 'a.txt', diff: '--- a\n+++ b\n-one\n+two\n three', hash: 'h' };
    const [, person] = show(approval({ preview }));
    await until(() => person.end !== null);
    const lines = [...document.querySelectorAll<HTMLElement>('.jp-agent-Picture-line')];
    const changes = lines.map(({ dataset, textContent }) => [dataset.change, textContent?.trimEnd()]);
    expect(changes).toContainEqual(['added', '+two']);
    expect(changes).toContainEqual(['removed', '-one']);
    expect(changes).toContainEqual(['none', ' three']);
  });

  it('quotes each part of a command', async () => {
    const [, person] = show(approval({ preview: { argv: ['rm', '-rf', 'a b'], cwd: '/home/x', hash: 'h' } }));
    await until(() => person.end !== null);
    expect([...document.querySelectorAll('.jp-agent-Picture li')].map(item => item.textContent?.trim())).toEqual([
      '"rm"',
      '"-rf"',
      '"a b"'
    ]);
    expect(person.text('.jp-agent-Picture')).toContain('/home/x');
  });

  it('says so where a number lost digits on its way here, and shows what was sent', async () => {
    const sent = '{"amount": 12345678901234567891}';
    const preview = JSON.parse(`{"arguments": ${sent}, "hash": "h"}`) as Approval['preview'];
    const [, person] = show(approval({ preview, arguments: sent }));
    await until(() => person.end !== null);
    expect(person.text('.jp-agent-Picture-warning')).toContain('a number that this page cannot show exactly');
    expect(person.text('.jp-agent-Picture')).toContain('12345678901234567891');
  });

  it('that is kept beside it is fetched, and must be of the same call', async () => {
    const shortened = { tool: 'run_cell', hash: 'h', blob: 'b10b', shortened: '{"code": "1' };
    const whole = { tool: 'run_cell', hash: 'h', code: 'all of it', arguments: { code: 'all of it' } };
    const blobs = new Map([['b10b', JSON.stringify({ ...whole, hash: 'other' })]]);
    const [, person] = show(approval({ preview: shortened }), gateway(blobs));
    await until(() => person.text('.jp-agent-Decision-note').includes('does not show all'));
    expect(person.may('Approve')).toBe(false);
    expect(person.end).toBeNull();
    blobs.set('b10b', JSON.stringify(whole));
    person.press('Try again');
    await until(() => person.text('.jp-agent-Picture').includes('all of it'));
    person.read();
    await until(() => person.may('Approve'));
  });

  it.each([
    ['no blob', { hash: 'h', shortened: '{' }],
    ['a blob that is gone', { hash: 'h', blob: 'gone', shortened: '{' }],
    ['a blob that is no JSON', { hash: 'h', blob: 'text', shortened: '{' }],
    ['no hash', { blob: 'empty', shortened: '{' }]
  ])('with %s cannot be approved, and can be rejected', async (_, preview) => {
    const blobs = new Map([
      ['text', 'not json'],
      ['empty', '{}']
    ]);
    const [, person] = show(approval({ preview }), gateway(blobs));
    await until(() => person.text('.jp-agent-Decision-note').includes('cannot be approved'));
    expect(person.may('Approve') || person.may('Edit')).toBe(false);
    person.press('Reject');
    person.press('Reject it');
    expect(decided).toEqual([{ approved: false }]);
  });
});

describe('the time that is left', () => {
  const asked = (left: number): Approval =>
    approval({
      askedAt: new Date(Date.now() - 600_000 + left).toISOString(),
      expiresAt: new Date(Date.now() + left).toISOString()
    });
  const timer = (person: Person): string => person.text('[role="timer"]');

  it('is told in minutes, and at the end in seconds', () => {
    expect(timer(show(asked(9.5 * 60_000))[1])).toBe('10 min left');
    expect(timer(show(asked(42_000))[1])).toMatch(/^4[12] s left$/);
  });

  it('is not told where nothing runs out', () => {
    const expiresAt = new Date(Date.now() + 95 * 365 * 24 * 3_600_000).toISOString();
    const [, person] = show(approval({ askedAt: new Date().toISOString(), expiresAt }));
    expect(timer(person)).toBe('');
  });

  it('does not end the card when it is over: only the server does', async () => {
    const [card, person] = await armed(asked(1_100));
    await until(() => timer(person) === 'the time is about over');
    expect(card.isOver).toBe(false);
    expect(person.may('Approve') && person.may('Reject')).toBe(true);
    card.end('Nobody decided in time, so the call was rejected.');
    expect(person.may('Approve') || person.may('Reject')).toBe(false);
  });

  it('is told by the clock of the server, as far as that is known', () => {
    const minutes = 60_000;
    expect(timer(show(asked(1 * minutes))[1])).toMatch(/^(60 s|1 min) left$/);
    const [, person] = show(asked(1 * minutes), gateway(new Map(), true, -8 * minutes));
    expect(timer(person)).toBe('9 min left');
  });

  it('does not end what the server says waits, where the clocks differ', async () => {
    const [card, person] = await armed(asked(-3_600_000));
    expect(timer(person)).toMatch(/^until /);
    expect(card.isOver).toBe(false);
    expect(timer(show(approval())[1])).toBe('10 min left'); // asked in a far future, by our clock
  });
});

it('without the right to decide shows the same and says where to answer', async () => {
  const [, person] = show(approval(), gateway(new Map(), false));
  await until(() => person.end !== null);
  expect(person.text('.jp-agent-Picture')).toContain('1 + 1');
  expect(document.querySelectorAll('button')).toHaveLength(0);
  expect(person.status).toContain('jupyter agent approve');
});

it('is a labelled group', () => {
  const [{ node }] = show();
  expect(node.getAttribute('role')).toBe('group');
  const label = document.getElementById(node.getAttribute('aria-labelledby') ?? '');
  expect(label?.textContent).toBe('run_cell wants to execute code');
  expect(node.querySelectorAll('[role="status"], [aria-live="polite"]')).toHaveLength(1);
});
