/**
 * What exactly a tool call will do, from the server's picture of it, for a person who is to approve it.
 *
 * Everything becomes text nodes, and what cannot be seen is written out: nothing that a model wrote can hide here, move
 * what stands beside it, or look like a part of the page. Long texts are made of short parts, each with a mark at its end:
 * whoever watches the marks knows what was in view.
 */

import { element, visible } from '../content/element';
import type { Approval, Effect } from '../protocol';
import type { IWords } from '../tokens';

/** Parts of the picture that are not the picture: shown in their own way, or nothing to a person. */
const APART: ReadonlySet<string> = new Set(['tool', 'hash', 'arguments', 'warning', 'invisible']);

/** What these hold is a text, however short. */
const TEXTS: ReadonlySet<string> = new Set(['code', 'diff']);

/** A longer value gets lines of its own. */
const SHORT = 80;

/** How many lines are one part, where that makes no more than so many parts; a long line counts as several. */
const PART_LINES = 5;
const LINE_CHARACTERS = 100;
const MOST_PARTS = 4_000;

/** So many lines without a word become one that counts them: they are there to push the rest away. */
const EMPTY_LINES = 12;

/** Signs that stack on one letter until they cover the lines around it. */
const STACKED = /\p{M}{5,}/gu;

export interface IPicture {
  readonly node: HTMLElement;

  /** One at the end of each part: what stands before it was in view when the mark was. */
  readonly marks: ReadonlyArray<Element>;
}

/** Tells whether it is no agent's call, but a workflow that has a person decide whether it may go on. */
export function isGate(toolName: string, effects: ReadonlyArray<Effect>): boolean {
  return toolName === 'gate' && effects.length === 0;
}

/** Returns which tool wants to do what kind of thing, or that a workflow asks. */
export function wants(toolName: string, effects: ReadonlyArray<Effect>, words: IWords): string {
  if (isGate(toolName, effects)) {
    return words.__('A workflow asks for your decision');
  }
  const known: Record<Effect, string> = {
    read: words.__('read'),
    write: words.__('write'),
    exec: words.__('execute code'),
    network: words.__('use the network')
  };
  const what = effects.map(effect => known[effect]).join(words.__(' and ')) || words.__('act');
  return words.__('%1 wants to %2', visible(toolName), what);
}

/** Returns the picture of a call: what its tool shows of it, else its arguments. */
export function picture(approval: Approval, words: IWords): IPicture {
  const { preview } = approval;
  const maker = new Maker(words);
  for (const warning of warnings(preview, words)) {
    maker.node.append(element('div', 'jp-agent-Picture-warning', warning));
  }
  const shown = Object.entries(preview).filter(([name]) => !APART.has(name));
  const given = isObject(preview.arguments) ? Object.entries(preview.arguments) : [['arguments', approval.arguments]];
  const names = isGate(approval.toolName, approval.effects) ? gateNames(words) : new Map<string, string>();
  const fields = (shown.length > 0 ? shown : given).map(
    ([name, value]) => [names.get(String(name)) ?? String(name), value] as const
  );
  const short = fields.filter(([name, value]) => !isLong(name, value));
  const long = fields.filter(([name, value]) => isLong(name, value));
  [...short, ...long].forEach(([name, value]) => maker.add(name, value));
  if (holdsInexact(preview)) {
    maker.add('arguments as they were asked for', approval.arguments);
  }
  return maker;
}

function gateNames(words: IWords): ReadonlyMap<string, string> {
  return new Map([
    ['title', words.__('Question')],
    ['detail', words.__('Detail')]
  ]);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function warnings(preview: Approval['preview'], words: IWords): string[] {
  const said = typeof preview.warning === 'string' ? [preview.warning] : [];
  if (isObject(preview.invisible)) {
    const found = Object.entries(preview.invisible).map(([name, times]) => `${name} × ${String(times)}`);
    said.push(words.__('It holds characters that cannot be seen; they are written out: %1', found.join(', ')));
  }
  if (holdsInexact(preview)) {
    said.push(words.__('It holds a number that this page cannot show exactly: read it where the call was asked for.'));
  }
  return said;
}

/** Tells whether a number may have lost digits on its way into this page. */
function holdsInexact(value: unknown): boolean {
  if (typeof value === 'number') {
    return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value));
  }
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsInexact);
}

/** Tells whether the value gets lines of its own, after those that do not. */
function isLong(name: string, value: unknown): boolean {
  return TEXTS.has(name) || (typeof value === 'string' ? isLongText(value) : typeof value === 'object');
}

function isLongText(text: string): boolean {
  return text.length > SHORT || text.includes('\n');
}

class Maker implements IPicture {
  constructor(private readonly _words: IWords) {}

  readonly node = element('div', 'jp-agent-Picture');
  readonly marks: Element[] = [];

  add(name: string, value: unknown): void {
    const field = element('div', 'jp-agent-Picture-field');
    field.dataset.kind = typeof value;
    field.append(element('span', 'jp-agent-Picture-name', this._label(name)), this._value(name, value));
    this.node.append(field);
  }

  private _value(name: string, value: unknown): HTMLElement {
    if (isTexts(value)) {
      const list = element('ol', 'jp-agent-Picture-list');
      list.start = 0;
      list.append(...value.map(text => this._item(text)));
      return list;
    }
    const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    const shown = element(isLongText(text) || TEXTS.has(name) ? 'pre' : 'code', '');
    shown.append(...(name === 'diff' ? this._parts(text.replace(/\n$/, ''), true) : this._parts(text, false)));
    return shown;
  }

  /** Quoted, so that one with blanks in it does not look like two. */
  private _item(text: string): HTMLElement {
    const item = element('li', '');
    const code = element('code', '');
    code.append(...this._parts(JSON.stringify(text), false));
    item.append(code);
    return item;
  }

  private _parts(text: string, isDiff: boolean): HTMLElement[] {
    const whole = withoutGulfs(readable(text).split('\n'), this._words);
    const lines = (isDiff ? whole.map(changed) : whole).flatMap(slices);
    const all = lines.reduce((sum, line) => sum + weight(line), 0);
    const most = Math.max(PART_LINES, all / MOST_PARTS);
    const parts: HTMLElement[] = [];
    for (let from = 0, to = 0; from < lines.length; from = to) {
      for (let sum = 0; to < lines.length && (to === from || sum + weight(lines[to]) <= most); to += 1) {
        sum += weight(lines[to]);
      }
      parts.push(this._part(lines.slice(from, to)));
    }
    return parts;
  }

  private _part(lines: ReadonlyArray<ILine>): HTMLElement {
    const part = element('span', 'jp-agent-Picture-part');
    if (lines.some(({ isPiece }) => isPiece)) {
      part.dataset.piece = ''; // of a line, and must not look like one
    }
    const mark = element('i', 'jp-agent-Picture-mark');
    this.marks.push(mark);
    part.append(...runs(lines).map(lineNode));
    part.lastElementChild?.append(mark, lines.at(-1)?.goesOn ? '' : '\n');
    return part;
  }

  private _label(name: string): string {
    const words = this._words;
    const known = new Map([
      ['code', words.__('Code')],
      ['diff', words.__('Changes')],
      ['path', words.__('File')],
      ['bytes', words.__('Bytes')],
      ['lines', words.__('Lines')],
      ['characters', words.__('Characters')],
      ['argv', words.__('Command')],
      ['cwd', words.__('In the folder')],
      ['host', words.__('Host')],
      ['arguments as they were asked for', words.__('Arguments as they were asked for')]
    ]);
    return known.get(name) ?? name;
  }
}

interface ILine {
  readonly text: string;
  readonly change: 'added' | 'removed' | 'none';

  /** It is ours, not of the text. */
  readonly isNote?: boolean;

  /** It is a piece of a line, and the next one too where it goes on. */
  readonly isPiece?: boolean;
  readonly goesOn?: boolean;
}

function isTexts(value: unknown): value is ReadonlyArray<string> {
  return Array.isArray(value) && value.length > 0 && value.every(item => typeof item === 'string');
}

function readable(text: string): string {
  return visible(text).replace(STACKED, signs =>
    [...signs].map(sign => `⟨U+${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`).join('')
  );
}

/** Returns the lines with each long run of empty ones as a note that counts them. */
function withoutGulfs(lines: ReadonlyArray<string>, words: IWords): ILine[] {
  const kept: ILine[] = [];
  for (let index = 0; index < lines.length;) {
    const first = lines[index] ?? '';
    let next = index + 1;
    while (isEmpty(first) && next < lines.length && isEmpty(lines[next] ?? '') && sign(lines[next]) === sign(first)) {
      next += 1;
    }
    if (next - index > EMPTY_LINES) {
      kept.push({ text: `${sign(first)}⟨${words.__('%1 empty lines', next - index)}⟩`, change: 'none', isNote: true });
    } else {
      lines.slice(index, next).forEach(text => kept.push({ text, change: 'none' }));
    }
    index = next;
  }
  return kept;
}

function isEmpty(line: string): boolean {
  return /^[+-]?\s*$/.test(line);
}

function sign(line = ''): string {
  return line.startsWith('+') || line.startsWith('-') ? line.charAt(0) : '';
}

/** Returns a line of a diff with what it says of the file; its first two are names. */
function changed(line: ILine, index: number): ILine {
  if (line.isNote || (index < 2 && /^(---|\+\+\+) /.test(line.text))) {
    return line;
  }
  const change = line.text.startsWith('+') ? 'added' : line.text.startsWith('-') ? 'removed' : 'none';
  return { ...line, change };
}

/** Returns a long line in pieces that a part can hold. */
function slices(line: ILine): ILine[] {
  const most = PART_LINES * LINE_CHARACTERS;
  if (line.text.length <= most) {
    return [line];
  }
  const found: ILine[] = [];
  const characters = [...line.text];
  for (let from = 0; from < characters.length; from += most) {
    const text = characters.slice(from, from + most).join('');
    found.push({ ...line, text, isPiece: true, goesOn: from + most < characters.length });
  }
  return found;
}

function weight(line: ILine | undefined): number {
  return Math.max(1, (line?.text.length ?? 0) / LINE_CHARACTERS);
}

/** Returns the lines in groups that look alike. */
function runs(lines: ReadonlyArray<ILine>): ReadonlyArray<ReadonlyArray<ILine>> {
  const found: ILine[][] = [];
  for (const line of lines) {
    const before = found.at(-1)?.[0];
    if (before && !before.isNote && !line.isNote && before.change === line.change) {
      found.at(-1)?.push(line);
    } else {
      found.push([line]);
    }
  }
  return found;
}

/** Returns a node for lines that look alike; the last one's end is left to whoever knows what follows. */
function lineNode(lines: ReadonlyArray<ILine>, index: number, all: ReadonlyArray<unknown>): HTMLElement {
  const node = document.createElement('span');
  const text = lines.map(line => (line.goesOn ? line.text : `${line.text}\n`)).join('');
  const isLast = index === all.length - 1;
  node.className = 'jp-agent-Picture-line';
  node.textContent = isLast && text.endsWith('\n') && !lines.at(-1)?.goesOn ? text.slice(0, -1) : text;
  node.dataset.change = lines[0]?.change ?? 'none';
  if (lines[0]?.isNote) {
    node.dataset.note = '';
  }
  return node;
}
