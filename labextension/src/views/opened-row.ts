/** The place below a grid where one of its rows is open. A button or Escape closes it, and the grid has the focus again. */

import { element, visible } from '../content/element';
import type { IWords } from '../tokens';
import type { Grid } from './grid';
import { opened } from './opened';
import type { Fields } from './read';

export class OpenedRow {
  constructor(
    private readonly _words: IWords,
    private readonly _grid: Grid
  ) {
    this.node.hidden = true;
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        this.close();
      }
    });
  }

  readonly node = element('div', 'jp-agent-Opened', '', { role: 'region', tabindex: '0' });

  /** The row that is open, or about to be; null where none is. */
  get at(): number | null {
    return this._at;
  }

  /** This row is about to be open: what is in it may have to be asked for. */
  begin(at: number): void {
    this._at = at;
    this._grid.redraw();
  }

  /** Shows what is in the row. */
  show(name: string, row: Fields): void {
    const called = name || this._words.__('Row');
    this.node.setAttribute('aria-label', this._words.__('Opened: %1', visible(called)));
    const head = element('div', 'jp-agent-Opened-head');
    const close = element('button', 'jp-agent-Opened-close', this._words.__('Close'), { type: 'button' });
    close.addEventListener('click', () => this.close());
    head.append(element('span', 'jp-agent-Opened-name', called), close);
    this.node.replaceChildren(head, opened(row, this._words));
    this.node.hidden = false;
    this.node.scrollTop = 0;
  }

  close(): void {
    const hadFocus = this.node.contains(document.activeElement);
    this._at = null;
    this.node.hidden = true;
    this.node.replaceChildren();
    this._grid.redraw();
    if (hadFocus) {
      this._grid.node.focus();
    }
  }

  private _at: number | null = null;
}
