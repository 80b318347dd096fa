/**
 * A list of rows of one height, of which only those on the screen are on the page; used by pointer, keys and screen reader.
 *
 * The grid has the focus, and names the row that is meant. What is in the cells is made by whoever shows something.
 */

import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';
import { listHeight, scrollTo, windowAt } from './window';

export const ROW_PX = 28;
export const HEAD_PX = 30;
const OVER = 8;

/** What is seen where the page cannot say how high anything is. */
const UNKNOWN_PX = 400;

export interface IColumn {
  /** What stands above the column, made by us or made visible. */
  readonly label: string;
  /** Its width, as CSS has it for a track of a grid. */
  readonly width: string;
  readonly isNumber?: boolean;
  /** Whether the rows are in its order: then which; null where they are not but could be. */
  readonly sorted?: 'ascending' | 'descending' | 'none';
}

export interface IGridOptions {
  /** What the grid is, for those who do not see it. */
  readonly label: string;
  /** How many rows are seen at once, at most. */
  readonly rows?: number;

  /** Returns the cells of a row; null where what is in it has not come yet. */
  draw(at: number): ReadonlyArray<HTMLElement> | null;

  /** Says more of the row itself, such as whether it is unfolded. */
  mark?(row: HTMLElement, at: number): void;

  /** These rows are about to be seen. */
  need?(from: number, to: number): void;

  /** Somebody presses a row, or Enter on it. */
  press?(at: number): void;

  /** Somebody wants a row folded, or unfolded. */
  fold?(at: number, isOpen: boolean): void;

  /** Somebody presses the head of a column. */
  sort?(column: number): void;
}

export class Grid implements IDisposable {
  constructor(private readonly _options: IGridOptions) {
    const { label, rows = 14 } = _options;
    this.node = element('div', 'jp-agent-Grid', '', { role: 'grid', tabindex: '0', 'aria-label': label });
    this.node.style.maxHeight = `${HEAD_PX + rows * ROW_PX + 2}px`;
    this._head.append(this._headRow);
    const inner = element('div', 'jp-agent-Grid-inner', '', { role: 'presentation' });
    inner.append(this._head, this._body);
    this.node.append(inner);
    this.node.addEventListener('scroll', () => this._soon());
    this.node.addEventListener('keydown', event => this._onKey(event));
    this._body.addEventListener('click', event => this._onClick(event));
    if (typeof ResizeObserver !== 'undefined') {
      this._resized = new ResizeObserver(() => this._soon());
      this._resized.observe(this.node);
    }
  }

  readonly node: HTMLElement;

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The row that is meant; null before there is one. */
  get active(): number | null {
    return this._active;
  }

  /** Shows so many rows under these columns, `tree`: some of which unfold. What is on the screen is drawn anew. */
  show(rows: number, columns: ReadonlyArray<IColumn>, kind: 'grid' | 'tree' = 'grid'): void {
    this._count = rows;
    this.node.setAttribute('role', kind === 'tree' ? 'treegrid' : 'grid');
    this.node.setAttribute('aria-rowcount', String(rows + 1));
    this.node.setAttribute('aria-colcount', String(columns.length));
    this.node.style.setProperty('--ja-columns', columns.map(({ width }) => width).join(' '));
    this._showHead(columns);
    this._body.style.height = `${listHeight(rows, ROW_PX)}px`;
    if (this._active !== null && this._active >= rows) {
      this._active = rows > 0 ? rows - 1 : null;
    }
    this.redraw();
  }

  /** Draws anew what is on the screen. */
  redraw(): void {
    this._isStale = true;
    this._soon();
  }

  /** Draws at once what would be drawn with the next frame. */
  flush(): void {
    if (!this._isDisposed) {
      this._draw();
    }
  }

  /** Means this row, and has it seen. */
  goTo(at: number): void {
    if (this._count > 0) {
      this._active = Math.max(0, Math.min(this._count - 1, at));
      const { scrollTop } = this.node;
      this.node.scrollTop = scrollTo(this._active, scrollTop, this._seen(), this._count, ROW_PX);
      this.redraw();
      this.flush();
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._resized?.disconnect();
      cancelAnimationFrame(this._frame);
      this._rows.clear();
      this.node.remove();
    }
  }

  private _seen(): number {
    const { clientHeight } = this.node;
    return clientHeight > 0 ? Math.max(ROW_PX, clientHeight - HEAD_PX) : UNKNOWN_PX;
  }

  private _soon(): void {
    if (!this._isDisposed && !this._frame) {
      this._frame = requestAnimationFrame(() => this._draw());
    }
  }

  private _draw(): void {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    const { from, to, top } = windowAt(this.node.scrollTop, this._seen(), this._count, ROW_PX, OVER);
    this._options.need?.(from, to);
    for (const [at, row] of this._rows) {
      if (this._isStale || at < from || at >= to) {
        row.remove();
        this._rows.delete(at);
      }
    }
    this._isStale = false;
    for (let at = from; at < to; at += 1) {
      const row = this._rows.get(at) ?? this._add(at);
      row.style.transform = `translateY(${top + (at - from) * ROW_PX}px)`;
    }
    this._name();
  }

  private _add(at: number): HTMLElement {
    const row = element('div', 'jp-agent-Grid-row', '', { role: 'row', 'aria-rowindex': String(at + 2) });
    row.id = `${this._id}-${at}`;
    row.dataset.at = String(at);
    row.dataset.odd = String(at % 2 === 1);
    const cells = this._options.draw(at);
    if (cells) {
      row.append(...cells);
      this._options.mark?.(row, at);
    } else {
      row.setAttribute('aria-busy', 'true');
      row.append(cell('…'));
    }
    row.setAttribute('aria-selected', String(at === this._active));
    this._rows.set(at, row);
    this._body.append(row);
    return row;
  }

  /** Says which row is meant, where it is on the page. */
  private _name(): void {
    const row = this._active === null ? undefined : this._rows.get(this._active);
    if (row) {
      this.node.setAttribute('aria-activedescendant', row.id);
    } else {
      this.node.removeAttribute('aria-activedescendant');
    }
  }

  private _showHead(columns: ReadonlyArray<IColumn>): void {
    const focused = [...this._headRow.children].findIndex(child => child.contains(document.activeElement));
    this._headRow.replaceChildren(
      ...columns.map(({ label, isNumber, sorted }, at) => {
        const head = element('div', 'jp-agent-Grid-heading', '', { role: 'columnheader' });
        head.dataset.number = String(isNumber === true);
        if (sorted === undefined || !this._options.sort) {
          head.append(element('span', 'jp-agent-Grid-label', label));
          return head;
        }
        head.setAttribute('aria-sort', sorted);
        const button = element('button', 'jp-agent-Grid-sort', label, { type: 'button' });
        button.dataset.sorted = sorted;
        button.addEventListener('click', () => this._options.sort?.(at));
        head.append(button);
        return head;
      })
    );
    if (focused >= 0) {
      this._headRow.children[focused]?.querySelector('button')?.focus();
    }
  }

  private _onClick(event: MouseEvent): void {
    const row = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-at]') : null;
    if (row && String(document.getSelection() ?? '') === '') {
      this.goTo(Number(row.dataset.at));
      this._options.press?.(Number(row.dataset.at));
    }
  }

  private _onKey(event: KeyboardEvent): void {
    if (event.target !== this.node || event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const at = this._active ?? -1;
    const page = Math.max(1, Math.floor(this._seen() / ROW_PX) - 1);
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this._count - 1
    };
    const to = moves[event.key];
    if (to !== undefined) {
      this.goTo(to);
    } else if ((event.key === 'Enter' || event.key === ' ') && this._active !== null) {
      this._options.press?.(this._active);
    } else if ((event.key === 'ArrowRight' || event.key === 'ArrowLeft') && this._active !== null) {
      this._options.fold?.(this._active, event.key === 'ArrowRight');
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Every widget comes with a module of its own, so a count would be another grid's too. */
  private readonly _id = `jp-agent-grid-${UUID.uuid4()}`;
  private readonly _head = element('div', 'jp-agent-Grid-head', '', { role: 'rowgroup' });
  private readonly _headRow = element('div', 'jp-agent-Grid-headings', '', { role: 'row', 'aria-rowindex': '1' });
  private readonly _body = element('div', 'jp-agent-Grid-body', '', { role: 'rowgroup' });
  private readonly _rows = new Map<number, HTMLElement>();
  private readonly _resized: ResizeObserver | undefined;
  private _count = 0;
  private _active: number | null = null;
  private _frame = 0;
  private _isStale = false;
  private _isDisposed = false;
}

/** Returns a cell with this text, made visible. */
export function cell(text = '', className = ''): HTMLElement {
  return element('div', `jp-agent-Grid-cell ${className}`.trim(), text, { role: 'gridcell' });
}

/** Returns a cell with a number. */
export function numberCell(text: string): HTMLElement {
  return cell(text, 'jp-agent-Grid-number');
}
