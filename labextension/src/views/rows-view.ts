/** What charts of rows have in common: all rows are told at once, a line each, and one of them may be opened. */

import { visible } from '../content/element';
import { Frame } from './frame';
import { Grid, type IColumn } from './grid';
import { OpenedRow } from './opened-row';
import { countOf, type Fields, fieldsOf, listOf, textOf } from './read';
import type { IView, IViewOptions } from './view';

export abstract class RowsView implements IView {
  constructor(
    protected readonly options: IViewOptions,
    kind: string,
    label: string
  ) {
    this.frame = new Frame(kind, label);
    this._grid = new Grid({
      label: `${label}: ${options.words.__('arrows to move, Enter to open')}`,
      draw: at => this.cells(this.rows[at] ?? {}),
      mark: (row, at) => {
        row.dataset.opened = String(at === this._opened.at);
        this.mark(row, this.rows[at] ?? {});
      },
      press: at => this._press(at)
    });
    this._opened = new OpenedRow(options.words, this._grid);
    this.frame.body.append(this._grid.node, this._opened.node);
    this.node.dataset.source = options.ask ? 'kernel' : 'copy';
  }

  get node(): HTMLElement {
    return this.frame.node;
  }

  get isDisposed(): boolean {
    return this.frame.isDisposed;
  }

  show(value: unknown): void {
    const { words, ask } = this.options;
    const { title, earlier, rows } = fieldsOf(value);
    this.rows = listOf(rows).map(fieldsOf);
    this._earlier = countOf(earlier);
    this.measure();
    this.frame.title.textContent = visible(textOf(title));
    const left = this._earlier
      ? words.__(
          this._earlier === 1 ? '%1 earlier row left out here' : '%1 earlier rows left out here',
          this._earlier.toLocaleString()
        )
      : '';
    this.frame.say([this.said(), left, ask === null ? words.__('Saved copy') : ''].filter(Boolean).join(' · '));
    this._grid.show(this.rows.length, this.columns());
  }

  warn(trouble: string | null): void {
    this.frame.warn(trouble);
  }

  dispose(): void {
    this._grid.dispose();
    this.frame.dispose();
  }

  protected abstract columns(): IColumn[];
  protected abstract cells(row: Fields): HTMLElement[];

  /** What is said beside the title. */
  protected abstract said(): string;

  /** Looks at all rows before any is drawn. */
  protected abstract measure(): void;

  protected mark(_row: HTMLElement, _fields: Fields): void {
    // nothing more is said of a row
  }

  private _press(at: number): void {
    if (at === this._opened.at) {
      return this._opened.close();
    }
    const row = this.rows[at] ?? {};
    this._opened.begin(at);
    this._opened.show(textOf(row.name) || textOf(row.cause).replace(/_/g, ' ') || textOf(row.model), row);
    this.pressed(at + this._earlier);
  }

  /** Somebody has pressed this one of all rows. */
  protected pressed(_at: number): void {
    // nobody is told
  }

  protected readonly frame: Frame;
  protected rows: ReadonlyArray<Fields> = [];
  private readonly _grid: Grid;
  private readonly _opened: OpenedRow;
  private _earlier = 0;
}
