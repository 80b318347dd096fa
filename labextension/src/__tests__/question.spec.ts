/**
 * The card of a question, and the forms for JSON Schemas of any origin.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { QuestionCard } from '../decisions/question';
import type { InputNeeded } from '../protocol';
import { before, gateway, Pending, Person, words } from './deciding';
import { until } from './peer';

type Schema = Readonly<Record<string, unknown>>;

let cards: QuestionCard[];
let answered: string[];

function ask(schema?: Schema | null, more: Partial<InputNeeded> = {}, deed?: Promise<void>): [QuestionCard, Person] {
  const asked = { requestId: 'inp_1', runId: 'run_a', prompt: 'Which <i>sheet</i>?', ...more };
  const answer = async (content: string): Promise<void> => {
    answered.push(content);
    await deed;
  };
  const options = { words, gateway: gateway(), answer };
  const card = new QuestionCard({ ...asked, schema: schema ?? null }, options);
  cards.push(card);
  return [card, before(card)];
}

const object = (properties: Schema, required: string[] = []): Schema => ({ type: 'object', properties, required });

/** Returns the input with this label. */
function input<T extends HTMLElement = HTMLInputElement>(label: string): T {
  const found = [...document.querySelectorAll('label')].find(node =>
    [node.firstChild?.textContent, node.textContent].includes(label)
  );
  return (found?.htmlFor ? document.getElementById(found.htmlFor) : found?.querySelector('input')) as T;
}

/** Presses the button and returns what was answered, null where nothing was. */
async function answer([card, person]: [QuestionCard, Person]): Promise<unknown> {
  const count = answered.length;
  person.press('Answer');
  if (answered.length === count) {
    return null;
  }
  await until(() => card.isOver);
  return JSON.parse(answered.at(-1) ?? '');
}

const faults = (): string[] =>
  [...document.querySelectorAll('.jp-agent-Decision-fault')].map(node => node.textContent ?? '').filter(Boolean);

beforeEach(() => {
  [cards, answered] = [[], []];
});

afterEach(() => {
  cards.forEach(card => card.dispose());
});

describe('a question in words', () => {
  const field = (): HTMLTextAreaElement | null => document.querySelector('textarea');

  it('shows the prompt as text, and takes words', async () => {
    const [card, person] = ask(null, { prompt: 'Which <i>sheet</i>\u202e?\nThis one?' });
    expect(person.text('.jp-agent-Decision-prompt')).toBe('Which <i>sheet</i>⟨U+202E⟩?\nThis one?');
    expect(document.activeElement).toBe(document.body);
    expect(person.may('Answer')).toBe(false);
    person.write(field(), ' \n');
    person.key(field(), 'Enter');
    expect(answered).toEqual([]);
    person.write(field(), ' The first. ');
    expect(person.key(field(), 'Enter', { shiftKey: true })).toBe(true);
    expect(person.key(field(), 'Enter', { isComposing: true })).toBe(true);
    expect(answered).toEqual([]);
    expect(person.key(field(), 'Enter')).toBe(false);
    await until(() => card.isOver);
    expect(answered).toEqual(['The first.']);
    expect(person.status).toBe('You answered.');
  });

  it('keeps what was written when it did not get through', async () => {
    const pending = new Pending();
    const [, person] = ask(null, {}, pending.promise);
    person.write(field(), 'The first.');
    person.press('Answer');
    person.press('Answer');
    pending.reject(new Error('Lost.'));
    await until(() => person.may('Answer'));
    expect(person.status).toBe('This was not carried out: Lost.');
    expect(field()?.value).toBe('The first.');
    expect(answered).toHaveLength(1);
  });

  it('without the right to answer says where to', () => {
    const options = { words, gateway: gateway(new Map(), false), answer: async () => {} };
    const card = new QuestionCard({ requestId: 'q', runId: 'r', prompt: 'Which?' }, options);
    cards.push(card);
    const person = before(card);
    expect(card.node.querySelectorAll('button, textarea')).toHaveLength(0);
    expect(person.status).toContain('jupyter agent approve');
  });
});

describe('a form', () => {
  it('gives the JSON text of what was filled in', async () => {
    const asked = ask(
      object(
        {
          name: { type: 'string', title: 'File name' },
          rows: { type: 'integer', minimum: 1, maximum: 10 },
          share: { type: 'number', exclusiveMinimum: 0 },
          header: { type: 'boolean' },
          format: { enum: ['csv', 'xlsx'] },
          columns: { type: 'array', items: { enum: ['age', 'city', 7] } },
          notes: { type: 'array', items: { type: 'string' } },
          since: { type: 'string', format: 'date' },
          kind: { const: { a: 1 } },
          sheet: object({ title: { type: 'string' } })
        },
        ['name', 'format']
      )
    );
    const [, person] = asked;
    expect(await answer(asked)).toBeNull();
    expect(faults()).toEqual(['This is needed.', 'This is needed.']);
    expect(document.activeElement).toBe(input('File name'));
    expect(person.status).toBe('Correct what is marked.');
    person.write(input('File name'), 'a "b"');
    person.write(input('rows'), '11');
    person.write(input('share'), '0');
    input('xlsx').click();
    expect(await answer(asked)).toBeNull();
    expect(faults()).toEqual(['Write a number of at most 10.', 'Write a number above 0.']);
    person.write(input('rows'), '1.5');
    expect(faults()).toContain('Write a whole number.');
    person.write(input('rows'), '3');
    person.write(input('share'), '0.5');
    input('header').click();
    input('city').click();
    input('7').click();
    person.write(input('notes'), 'one\n\ntwo');
    person.write(input('since'), '2026-01-31');
    person.write(input('title'), 'T');
    expect(await answer(asked)).toEqual({
      name: 'a "b"',
      rows: 3,
      share: 0.5,
      header: true,
      format: 'xlsx',
      columns: ['city', 7],
      notes: ['one', 'two'],
      since: '2026-01-31',
      kind: { a: 1 },
      sheet: { title: 'T' }
    });
  });

  it('begins with the defaults, and leaves out what is left empty', async () => {
    const asked = ask(
      object({
        a: { type: 'string', default: 'x' },
        b: { type: 'integer', default: 4 },
        c: { enum: [1, 2, 3, 4, 5, 6], default: 6 },
        d: { type: 'boolean', default: true },
        e: { type: 'string' },
        f: { type: 'array', items: { type: 'string' } },
        g: object({ h: { type: 'string' } }, ['h']),
        i: { type: 'string', default: 17 },
        j: { enum: ['only', 'these'] }
      })
    );
    expect(await answer(asked)).toEqual({ a: 'x', b: 4, c: 6, d: true });
  });

  it('takes what may be null as what it is otherwise', async () => {
    const asked = ask(
      object({
        a: { anyOf: [{ type: 'integer' }, { type: 'null' }], title: 'A' },
        b: { type: ['string', 'null'], default: null }
      })
    );
    expect(input('A').type).toBe('number');
    asked[1].write(input('A'), '5');
    expect(await answer(asked)).toEqual({ a: 5 });
  });

  it('holds lengths and counts', async () => {
    const asked = ask(
      object({
        a: { type: 'string', minLength: 2, maxLength: 3 },
        b: { type: 'array', items: { enum: ['x', 'y', 'z'] }, minItems: 2, maxItems: 2 }
      })
    );
    asked[1].write(input('a'), '𝒳');
    input('x').click();
    expect(await answer(asked)).toBeNull();
    expect(faults()).toEqual(['Write at least 2 characters.', 'At least 2 are asked for.']);
    asked[1].write(input('a'), '𝒳yzw');
    input('y').click();
    input('z').click();
    expect(faults()).toEqual(['Write at most 3 characters: these are 4.', 'At most 2 are asked for: these are 3.']);
    asked[1].write(input('a'), '𝒳yz');
    input('z').click();
    expect(await answer(asked)).toEqual({ a: '𝒳yz', b: ['x', 'y'] });
  });

  it.each([
    ['text', { type: 'string' }, 'hi', 'hi'],
    ['number', { type: 'number' }, '1e3', 1000],
    ['list', { type: 'array', items: { type: 'string' } }, 'a\nb', ['a', 'b']],
    ['JSON', { oneOf: [{ type: 'string' }] }, '{"a": [1]}', { a: [1] }]
  ])('may be of one %s', async (_, schema, written, value) => {
    const asked = ask(schema);
    asked[1].write(document.querySelector('[aria-label="Your answer"]'), written);
    expect(await answer(asked)).toEqual(value);
  });

  it('may be of one choice', async () => {
    const asked = ask({ enum: ['yes', 'no'] });
    expect(await answer(asked)).toBeNull();
    expect(faults()).toEqual(['This is needed.']);
    input('no').click();
    expect(await answer(asked)).toBe('no');
  });

  it('takes JSON only if it is some', async () => {
    const asked = ask({ type: 'object' });
    const field = document.querySelector('textarea');
    for (const wrong of ['', '{', "{'a': 1}"]) {
      asked[1].write(field, wrong);
      expect(await answer(asked)).toBeNull();
    }
    expect(faults()[0]).toContain('This is no JSON');
    asked[1].write(field, '{"a": 1}');
    expect(await answer(asked)).toEqual({ a: 1 });
  });

  it('makes no markup and no name of its own of what a model wrote', () => {
    const title = '<img src=x onerror=alert(1)>\u200b';
    ask(object({ 'x" onclick="y': { type: 'string', title, description: title, enum: [title] } }));
    expect(document.querySelectorAll('img, [onclick]')).toHaveLength(0);
    expect(document.body.textContent).toContain('<img src=x onerror=alert(1)>⟨U+200B⟩');
  });

  it('of names that objects have is a form like any other', async () => {
    const schema = JSON.parse(
      '{"type": "object", "properties": {"__proto__": {"type": "string"}, "constructor": {"type": "string"}}}'
    ) as Schema;
    const asked = ask(schema);
    asked[1].write(input('__proto__'), 'p');
    asked[1].write(input('constructor'), 'c');
    asked[1].press('Answer');
    expect(answered).toEqual(['{"__proto__":"p","constructor":"c"}']);
    expect(({} as { p?: unknown }).p).toBeUndefined();
  });
});

describe('a schema that is meant to break a page', () => {
  const deep = (depth: number): Schema =>
    JSON.parse(`${'{"type":"object","properties":{"a":'.repeat(depth)}{}${'}}'.repeat(depth)}`) as Schema;
  const hostile: [string, () => Schema][] = [
    ['10,000 choices', () => ({ enum: Array.from({ length: 10_000 }, (_, at) => `choice ${at}`) })],
    ['a depth of 1,000', () => deep(1_000)],
    ['a depth of 20,000', () => deep(20_000)],
    ['a reference to itself', () => ({ ...object({ a: { type: 'string' } }), $ref: '#' })],
    ['a text of 5 MB', () => object({ a: { type: 'string', description: 'x'.repeat(5_000_000) } })],
    ['a name of 5 MB', () => object({ ['x'.repeat(5_000_000)]: { type: 'string' } })],
    ['5,000 properties', () => object(Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`p${at}`, {}])))],
    ['a default of 5 MB', () => ({ type: 'string', default: 'x'.repeat(5_000_000) })],
    ['types that are none', () => ({ type: { a: 1 }, properties: 7, required: 'x', enum: {} })],
    ['an object that is none', () => ({ type: 'object', properties: { a: null, b: 'string', c: [] }, required: {} })],
    ['something needed that it does not describe', () => object({ a: { type: 'string' } }, ['b'])]
  ];

  it.each(hostile)('%s: JSON can be written, soon', async (_, make) => {
    const schema = make();
    const started = performance.now();
    const asked = ask(schema);
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(document.querySelectorAll('*').length).toBeLessThan(200);
    expect(document.body.textContent?.length).toBeLessThan(120_000);
    const fields = document.querySelectorAll('textarea');
    fields.forEach(field => asked[1].write(field, '"x"'));
    expect(fields.length).toBeGreaterThan(0);
    expect(await answer(asked)).not.toBeNull();
  });

  it('a pattern that never ends is not tried', async () => {
    const asked = ask({ type: 'string', pattern: '^(a+)+$' });
    asked[1].write(document.querySelector('input'), `${'a'.repeat(60)}!`);
    const started = performance.now();
    expect(await answer(asked)).toBe(`${'a'.repeat(60)}!`);
    expect(performance.now() - started).toBeLessThan(3_000);
  });
});
