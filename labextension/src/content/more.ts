/** A long text, of which only as much is on the page as somebody asked for. */

import type { IWords } from '../tokens';
import { element } from './element';

/** How much is shown at first, and how much more with each press. */
export interface IPortion {
  readonly lines: number;
  readonly characters: number;
}

/** Shows the first portion of a text, and more of it with each press of a button. */
export class Portions {
  /** `make` returns the node of a piece of the text; pieces are of whole lines unless a line is too long. */
  constructor(
    private readonly _text: string,
    private readonly _make: (piece: string) => HTMLElement,
    private readonly _words: IWords,
    first: IPortion,
    private readonly _next: IPortion
  ) {
    this._button.type = 'button';
    this._button.addEventListener('click', () => this._press());
    this.node.append(this._pieces, this._button);
    this._linesLeft = lineCount(_text);
    this._show(first);
  }

  readonly node = element('div', 'jp-agent-Content-portions');

  private _press(): void {
    const before = this._pieces.lastElementChild;
    this._show(this._next);
    if (this._button.hidden && before?.nextElementSibling instanceof HTMLElement) {
      // The button had the focus: whoever goes on by keyboard goes on in what it brought.
      before.nextElementSibling.tabIndex = -1;
      before.nextElementSibling.focus();
    }
  }

  private _show(portion: IPortion): void {
    const end = portionEnd(this._text, this._at, portion);
    const piece = this._text.slice(this._at, end);
    this._pieces.append(this._make(piece));
    this._at = end;
    this._linesLeft -= breaks(piece);
    const left = this._text.length - end;
    this._button.hidden = left === 0;
    this._button.textContent =
      this._linesLeft > 1
        ? this._words._n('%2 more line', '%2 more lines', this._linesLeft, this._linesLeft.toLocaleString())
        : this._words._n('%2 more character', '%2 more characters', left, left.toLocaleString());
  }

  private readonly _pieces = element('div', 'jp-agent-Content-pieces');
  private readonly _button = element('button', 'jp-agent-Content-more');
  private _at = 0;
  private _linesLeft: number;
}

/** Returns the number of lines; a line break at the end begins no line. */
function lineCount(text: string): number {
  return breaks(text) + (text === '' || text.endsWith('\n') ? 0 : 1);
}

function breaks(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) {
    count += 1;
  }
  return count;
}

function portionEnd(text: string, from: number, { lines, characters }: IPortion): number {
  const most = from + characters;
  let end = from;
  for (let line = 0; line < lines && end < text.length; line += 1) {
    const next = text.indexOf('\n', end) + 1 || text.length;
    if (next > most) {
      return end > from ? end : whole(text, Math.min(most, text.length));
    }
    end = next;
  }
  return end;
}

/** Returns a place that is not in the middle of a character. */
function whole(text: string, at: number): number {
  return /[\udc00-\udfff]/.test(text[at] ?? '') ? at + 1 : at;
}
