/**
 * The arguments of a tool call as a form: a field an argument, checked while one types.
 *
 * What nobody touches is sent as the model wrote it: a number can have more digits than this page can count with.
 */

import { UUID } from '@lumino/coreutils';

import { element, visible } from '../content/element';
import { laidOut, members } from '../content/json';
import type { IWords } from '../tokens';
import { isObject } from './picture';

/** More arguments than these are edited as one JSON text. */
const MOST_FIELDS = 40;

/** These are written in lines whatever they hold. */
const LINES: ReadonlySet<string> = new Set(['code', 'content', 'text', 'body', 'source', 'script', 'query', 'command']);

const MOST_ROWS = 16;

export type Arguments = Readonly<Record<string, unknown>>;

/** A value, and the JSON text that means exactly this value. */
interface IGiven {
  readonly value: unknown;
  readonly json: string;
}

export class ArgumentsForm {
  /** `written` is the call's own JSON text, where it is known whole. */
  constructor(given: Arguments, written: string, words: IWords, changed: () => void) {
    this._given = given;
    this._words = words;
    const exact = exactly(given, written);
    this._isOne = exact.length > MOST_FIELDS;
    const fields = this._isOne ? [['', { value: given, json: joined(exact) }] as const] : exact;
    this._fields = fields.map(([name, one]) => [name, new Field(name, one, words)] as const);
    this.node.append(...this._fields.map(([, field]) => field.node));
    this.node.addEventListener('input', () => {
      this._check();
      changed();
    });
  }

  readonly node = element('div', 'jp-agent-Decision-edit');

  /** What is to be executed instead, as JSON text; null while there is a mistake, or nothing is changed. */
  get text(): string | null {
    const text = this._check();
    return this._fields.some(([, field]) => field.isChanged) ? text : null;
  }

  /** Whether some field holds a mistake. */
  get isWrong(): boolean {
    return this._check() === null;
  }

  undo(): void {
    this._fields.forEach(([, field]) => field.reset());
    this._check();
  }

  focus(): void {
    this.node.querySelector<HTMLElement>('textarea, input')?.focus();
  }

  /** Says at each field what is wrong with it; returns all of them as JSON text, or null. */
  private _check(): string | null {
    const texts: [string, IGiven][] = [];
    let isRight = true;
    for (const [name, field] of this._fields) {
      try {
        const { value, json } = field.read();
        texts.push([name, { value: this._isOne ? this._fitting(value) : value, json }]);
        field.say('');
      } catch (fault) {
        isRight = false;
        field.say(fault instanceof Error ? fault.message : String(fault));
      }
    }
    if (!isRight) {
      return null;
    }
    return this._isOne ? (texts[0]?.[1].json ?? null) : joined(texts);
  }

  /** Returns the value where it has the arguments that were given, and no other. */
  private _fitting(value: unknown): Arguments {
    if (!isObject(value)) {
      throw new Error(this._words.__('Write one JSON object: {"name": value, …}.'));
    }
    const missing = Object.keys(this._given).find(name => !Object.hasOwn(value, name));
    if (missing !== undefined) {
      throw new Error(this._words.__('The argument %1 is missing.', visible(missing)));
    }
    const unknown = Object.keys(value).find(name => !Object.hasOwn(this._given, name));
    if (unknown !== undefined) {
      throw new Error(this._words.__('The call has no argument %1.', visible(unknown)));
    }
    return value;
  }

  private readonly _given: Arguments;
  private readonly _words: IWords;
  private readonly _fields: ReadonlyArray<readonly [string, Field]>;
  private readonly _isOne: boolean;
}

/** Returns each argument with its own words in the call's text; one that stands otherwise there in words of ours. */
function exactly(given: Arguments, written: string): ReadonlyArray<readonly [string, IGiven]> {
  const own = new Map((members(written) ?? []).map(member => [member.name, member]));
  return Object.entries(given).map(([name, value]) => {
    const member = own.get(name);
    const ours = JSON.stringify(value);
    const isSame = member !== undefined && !member.isText && member.isWhole && meaning(member.value) === ours;
    return [name, { value, json: isSame ? member.value : ours }] as const;
  });
}

function meaning(json: string): string | null {
  try {
    return JSON.stringify(JSON.parse(json));
  } catch {
    return null;
  }
}

function joined(fields: ReadonlyArray<readonly [string, IGiven]>): string {
  return `{${fields.map(([name, { json }]) => `${JSON.stringify(name)}:${json}`).join(',')}}`;
}

class Field {
  constructor(name: string, given: IGiven, words: IWords) {
    const id = `jp-agent-argument-${UUID.uuid4()}`;
    this._given = given;
    this._words = words;
    this._isText = typeof given.value === 'string';
    const text = typeof given.value === 'string' ? given.value : (laidOut(given.json) ?? given.json);
    const isMany = text.includes('\n') || text.length > 80 || LINES.has(name);
    this._input = element(isMany ? 'textarea' : 'input', 'jp-agent-Decision-field');
    if (this._input instanceof HTMLTextAreaElement) {
      this._input.rows = Math.min(MOST_ROWS, Math.max(2, text.split('\n').length));
    }
    this._input.id = id;
    this._input.value = text;
    this._input.spellcheck = false;
    this._input.dir = 'ltr';
    this._shown = this._input.value; // the browser may have changed the line breaks
    this._input.setAttribute('aria-describedby', `${id}-fault`);
    this._fault.id = `${id}-fault`;
    const label = element('label', 'jp-agent-Decision-label', name || words.__('Arguments'));
    label.htmlFor = id;
    if (!this._isText) {
      label.append(' ', element('span', 'jp-agent-Decision-kind', 'JSON'));
    }
    this.node.append(label, this._input, this._fault);
  }

  readonly node = element('div', 'jp-agent-Decision-row');

  /** Whether it means something else than in the beginning. */
  get isChanged(): boolean {
    try {
      return this._input.value !== this._shown && this.read().json !== this._given.json;
    } catch {
      return true;
    }
  }

  /** Returns the value as it is now. Throws an Error whose message is for the person. */
  read(): IGiven {
    const { value } = this._input;
    if (value === this._shown) {
      return this._given;
    }
    if (this._isText) {
      return { value, json: JSON.stringify(value) };
    }
    if (!value.trim()) {
      throw new Error(this._words.__('The argument is missing: write JSON, null if it should be nothing.'));
    }
    try {
      return { value: JSON.parse(value) as unknown, json: value.trim() };
    } catch (fault) {
      throw new Error(this._words.__('This is no JSON: %1', visible(fault instanceof Error ? fault.message : '')));
    }
  }

  say(fault: string): void {
    const { value } = this._input;
    const hides = visible(value) !== value;
    const note = hides ? this._words.__('It holds characters that cannot be seen: %1', hiddenIn(value)) : '';
    this._fault.textContent = fault || note;
    this._fault.dataset.tone = fault ? 'fault' : 'hint';
    this._input.setAttribute('aria-invalid', String(fault !== ''));
  }

  reset(): void {
    this._input.value = this._shown;
  }

  private readonly _given: IGiven;
  private readonly _shown: string;
  private readonly _isText: boolean;
  private readonly _words: IWords;
  private readonly _input: HTMLTextAreaElement | HTMLInputElement;
  private readonly _fault = element('div', 'jp-agent-Decision-fault');
}

/** Names what `visible` would write out, each once. */
function hiddenIn(text: string): string {
  const found = new Set([...text.slice(0, 100_000)].map(visible).filter(shown => /^⟨U\+[0-9A-F]+⟩$/.test(shown)));
  return [...found].slice(0, 8).join(' ');
}
