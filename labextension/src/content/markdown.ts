/**
 * A Markdown text that a model wrote or is writing, as elements from a fixed list.
 *
 * A text that grows changes only the end of what is shown, and comes out as if it had been there at once. Of a very long
 * text the beginning and the end are shown, until somebody asks for all of it.
 */

import type { IWords } from '../tokens';
import { parts } from './blocks';
import { decided } from './calm';
import { element, plain } from './element';
import { Flow } from './flow';
import { Reader } from './reader';

/** A longer text is not shown as a whole. */
const MOST = 60_000;

/** So much of its beginning is shown, and of its end so much or up to a step more. */
const HEAD = 20_000;
const TAIL = 30_000;
const STEP = 10_000;

/** How far a good place to begin may be. */
const REACH = 2_000;

export class MarkdownBlock {
  constructor(private readonly _words: IWords) {
    this._more.type = 'button';
    this._more.addEventListener('click', () => this._showAll());
    this._gap.append(this._left, this._more);
    this.node.append(this._head.node);
  }

  readonly node = element('div', 'jp-agent-Markdown');

  /** Shows this text; while it is streaming, what it holds half is shown as if it were whole. */
  update(text: string, isStreaming: boolean): void {
    this._text = text;
    this._isStreaming = isStreaming;
    const shown = plain(text);
    const source = isStreaming ? plain(decided(text)) : shown;
    if (shown.length <= MOST || this._isWhole) {
      this._gap.remove();
      this._tail.node.remove();
      this._tail.clear();
      this._head.update(source, isStreaming, this._words);
      return;
    }
    const end = headEnd(shown);
    const { from, fence } = tailStart(shown);
    this._head.update(shown.slice(0, end), false, this._words);
    this._tail.update(fence + source.slice(from), isStreaming, this._words);
    this._left.textContent = this._words.__('%1 characters are not shown here.', (from - end).toLocaleString());
    this._more.textContent = this._words.__('Show all %1 characters', shown.length.toLocaleString());
    if (!this._gap.parentNode) {
      this.node.append(this._gap, this._tail.node);
    }
  }

  dispose(): void {
    this._head.clear();
    this._tail.clear();
  }

  private _showAll(): void {
    this._isWhole = true;
    this.update(this._text, this._isStreaming);
  }

  private readonly _head = new Stretch();
  private readonly _tail = new Stretch();
  private readonly _gap = element('div', 'jp-agent-Markdown-gap');
  private readonly _left = element('span', '');
  private readonly _more = element('button', 'jp-agent-Content-more');
  private _text = '';
  private _isStreaming = false;
  private _isWhole = false;
}

/** A stretch of text that is read and shown by itself. */
class Stretch {
  readonly node = element('div', 'jp-agent-Markdown-stretch');

  update(text: string, isOpen: boolean, words: IWords): void {
    this._flow.update(parts(this._reader.read(text), text, isOpen, words));
  }

  clear(): void {
    this._flow.update([]);
    this._reader = new Reader();
  }

  private readonly _flow = new Flow(this.node);
  private _reader = new Reader();
}

function headEnd(text: string): number {
  const end = text.lastIndexOf('\n', HEAD);
  return end > HEAD - REACH ? end : whole(text, HEAD);
}

/** Returns from where on the end is shown, and the fence that was opened before it and is not closed there. */
function tailStart(text: string): { readonly from: number; readonly fence: string } {
  const least = Math.ceil((text.length - TAIL - STEP) / STEP) * STEP;
  const fence = openFence(text, least);
  const near = text.slice(least, least + REACH);
  const places = fence ? [/\n/] : [/\n\n(?=\S)/, /\n(?=\S)/, /\n/];
  for (const place of places) {
    const found = place.exec(near);
    if (found) {
      return { from: least + found.index + found[0].length, fence };
    }
  }
  return { from: whole(text, least), fence };
}

/** Returns a place that is not in the middle of a character. */
function whole(text: string, at: number): number {
  return /[\udc00-\udfff]/.test(text[at] ?? '') ? at + 1 : at;
}

/** Returns the line, with its end, of the fence in which this place is; nothing if it is in none. */
function openFence(text: string, at: number): string {
  const fences = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)$/gm;
  let open = '';
  let info = '';
  for (let found = fences.exec(text); found && found.index < at; found = fences.exec(text)) {
    const [, mark = '', rest = ''] = found;
    if (!open && !(mark.startsWith('`') && rest.includes('`'))) {
      open = mark;
      info = rest;
    } else if (open && mark.startsWith(open) && !rest.trim()) {
      open = '';
    }
  }
  return open && `${open}${info}\n`;
}
