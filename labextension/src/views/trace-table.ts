/**
 * Tool calls as a table. The kernel filters, sorts and groups, since it has all rows; the page has those that are looked at.
 *
 * A saved copy has the first rows, and says how many more there were.
 */

import { element, visible } from '../content/element';
import { duration } from '../view/figures';
import { Frame } from './frame';
import { cell, Grid, type IColumn, numberCell } from './grid';
import { latencyBar } from './levels';
import { OpenedRow } from './opened-row';
import { Pages } from './pages';
import { type Fields, fieldsOf, listOf, moment, numberOf, textOf } from './read';
import {
  type IGroup,
  type ILook,
  type ITold,
  type Kind,
  Lines,
  readGroup,
  readPage,
  readTold,
  type Row
} from './table-data';
import { Toolbar } from './toolbar';
import type { IView, IViewOptions } from './view';

/** A text has twice the room of a name at their narrowest too: a table is as wide as the widest share of all makes it. */
const WIDTHS: Readonly<Record<Kind, string>> = {
  text: 'minmax(150px, 2fr)',
  name: 'minmax(75px, 1fr)',
  number: 'minmax(58px, 0.4fr)',
  length: '172px',
  time: '170px',
  bool: '70px'
};

const SYMBOLS: Readonly<Record<string, string>> = { success: '✓', error: '✗', rejected: '✗', timed_out: '✗' };

export class TraceTable implements IView {
  constructor(private readonly _options: IViewOptions) {
    const { words, ask } = _options;
    this._frame = new Frame('Traces', words.__('Traces'));
    this._toolbar = ask && new Toolbar(words, change => this._look(change));
    this._grid = new Grid({
      label: words.__('Traces: arrows to move, Enter to open'),
      draw: at => this._draw(at),
      mark: (row, at) => this._mark(row, at),
      need: (from, to) => this._need(from, to),
      press: at => this._press(at),
      fold: (at, isOpen) => this._fold(at, isOpen),
      ...(this._toolbar ? { sort: (column: number) => this._sort(column) } : {})
    });
    this._opened = new OpenedRow(words, this._grid);
    if (this._toolbar) {
      this._frame.body.append(this._toolbar.node);
    }
    this._frame.body.append(this._grid.node, this._opened.node);
    this.node.dataset.source = ask ? 'kernel' : 'copy';
  }

  get node(): HTMLElement {
    return this._frame.node;
  }

  get isDisposed(): boolean {
    return this._frame.isDisposed;
  }

  show(value: unknown): void {
    const read = readTold(value);
    // A copy holds rows and no groups, whatever it says.
    const told = this._options.ask ? read : { ...read, groups: null };
    const isOther = JSON.stringify(told.look) !== JSON.stringify(this._told?.look);
    const { opened: wasOpen } = this._lines;
    this._told = told;
    this._wanted = told.look;
    if (this._options.ask === null) {
      this._keep(value);
    }
    const rows = this._options.ask ? told.shown : this._saved.length;
    this._lines = new Lines(rows, told.groups);
    this._rows.renew(told.version, rows, isOther);
    this._groups.renew(told.version, told.groups ?? 0, isOther);
    this._wasOpen = isOther ? [] : wasOpen.map(({ group }) => group);
    this._reopen();
    this._say();
    this._toolbar?.show(told);
    this._showGrid();
    if (isOther) {
      this._opened.close();
      this._grid.node.scrollTop = 0;
    }
  }

  warn(trouble: string | null): void {
    this._frame.warn(trouble);
  }

  dispose(): void {
    this._rows.dispose();
    this._groups.dispose();
    this._toolbar?.dispose();
    this._grid.dispose();
    this._frame.dispose();
  }

  // --- what is told -------------------------------------------------------------------------------------------------

  private async _ask(command: object): Promise<unknown> {
    try {
      const answer = await this._options.ask?.(command);
      this._frame.warn(null);
      return answer;
    } catch (fault) {
      this._frame.warn(fault instanceof Error ? fault.message : String(fault));
      return null;
    }
  }

  /** A saved copy holds its rows itself, and what opens of them. */
  private _keep(value: unknown): void {
    const kept = fieldsOf(value);
    this._saved = listOf(kept.rows).map(listOf);
    this._savedOpened = listOf(kept.opened).map(fieldsOf);
  }

  private _say(): void {
    const { words, ask } = this._options;
    const { total = 0, shown = 0, isCalls = false } = this._told ?? {};
    const [many, few] = [total.toLocaleString(), shown.toLocaleString()];
    this._frame.title.textContent = isCalls
      ? words.__(total === 1 ? '%1 tool call' : '%1 tool calls', many)
      : words.__(total === 1 ? '%1 row' : '%1 rows', many);
    const parts = shown < total ? [words.__('%1 listed', few)] : [];
    const { groups } = this._told ?? {};
    if (typeof groups === 'number') {
      parts.push(words.__(groups === 1 ? '%1 group' : '%1 groups', groups.toLocaleString()));
    }
    if (ask === null) {
      const more = shown - this._saved.length;
      parts.push(words.__('Saved copy'));
      if (more > 0) {
        const first = this._saved.length.toLocaleString();
        parts.push(words.__('the first %1 are here, %2 more were where it was made', first, more.toLocaleString()));
      }
    }
    this._frame.say(parts.join(' · '));
  }

  private _need(from: number, to: number): void {
    if (this._options.ask === null || !this._told) {
      return;
    }
    let [rowFrom, rowTo, groupFrom, groupTo] = [Infinity, -1, Infinity, -1];
    for (let at = from; at < to; at += 1) {
      const line = this._lines.at(at);
      if ('row' in line) {
        [rowFrom, rowTo] = [Math.min(rowFrom, line.row), Math.max(rowTo, line.row)];
      } else {
        [groupFrom, groupTo] = [Math.min(groupFrom, line.group), Math.max(groupTo, line.group)];
      }
    }
    // Unfolded groups that are far apart are asked for one by one; few of them are on the screen at once.
    if (rowTo >= 0) {
      this._rows.need(rowFrom, rowTo + 1);
    }
    if (groupTo >= 0) {
      this._groups.need(groupFrom, groupTo + 1);
    }
  }

  private _arrived(): void {
    const fault = this._rows.fault ?? this._groups.fault;
    if (fault !== null) {
      this._frame.warn(fault);
    }
    if (this._reopen()) {
      this._showGrid();
    } else {
      this._grid.redraw();
    }
  }

  /** Groups that were unfolded before stay so, as soon as it is known where they are now. */
  private _reopen(): boolean {
    const known = this._wasOpen.filter(group => this._groups.get(group));
    known.forEach(group => this._lines.open(group, readGroup(this._groups.get(group) ?? [])));
    this._wasOpen = this._wasOpen.filter(group => !known.includes(group));
    return known.length > 0;
  }

  // --- what is drawn ------------------------------------------------------------------------------------------------

  private _showGrid(): void {
    this._grid.show(this._lines.count, this._columns(), typeof this._told?.groups === 'number' ? 'tree' : 'grid');
  }

  private _columns(): IColumn[] {
    const { columns = [], look } = this._told ?? {};
    return columns.map(({ name, kind }) => ({
      label: this._label(name),
      width: WIDTHS[name === 'latency' ? 'length' : kind],
      isNumber: kind === 'number',
      sorted: name !== look?.sort ? 'none' : look.descending ? 'descending' : 'ascending'
    }));
  }

  private _label(name: string): string {
    const { words } = this._options;
    const known: Readonly<Record<string, string>> = {
      turn: words.__('Turn'),
      name: words.__('Tool'),
      arguments: words.__('Input'),
      result: words.__('Output'),
      latency: words.__('Latency'),
      outcome: words.__('Outcome'),
      run_id: words.__('Run')
    };
    const label = Object.hasOwn(known, name) ? known[name] : undefined;
    return label ?? name.replace(/_/g, ' ').replace(/^./, first => first.toUpperCase());
  }

  private _draw(at: number): ReadonlyArray<HTMLElement> | null {
    const line = this._lines.at(at);
    if ('group' in line) {
      const row = this._groups.get(line.group);
      return row ? [this._groupCell(readGroup(row), this._lines.isOpen(line.group))] : null;
    }
    const row = this._options.ask ? this._rows.get(line.row) : this._saved[line.row];
    return row ? this._cells(row) : null;
  }

  private _mark(row: HTMLElement, at: number): void {
    const line = this._lines.at(at);
    if ('group' in line) {
      row.classList.add('jp-agent-Grid-group');
      row.setAttribute('aria-expanded', String(this._lines.isOpen(line.group)));
      row.setAttribute('aria-level', '1');
    } else {
      row.dataset.opened = String(line.row === this._opened.at);
      if (typeof this._told?.groups === 'number') {
        row.setAttribute('aria-level', '2');
      }
    }
  }

  private _cells(row: Row): HTMLElement[] {
    const { columns = [], longestMs = 0 } = this._told ?? {};
    return columns.map(({ name, kind }, at) => {
      const value = row[at];
      if (name === 'latency') {
        const node = cell('', 'jp-agent-Grid-latency');
        node.append(latencyBar(numberOf(value), longestMs, this._options.words));
        return node;
      }
      if (kind === 'number') {
        return numberCell(numberOf(value)?.toLocaleString() ?? '');
      }
      if (kind === 'length') {
        const ms = numberOf(value);
        return numberCell(ms === null ? '' : duration(ms));
      }
      if (name === 'outcome') {
        return this._outcomeCell(textOf(value));
      }
      const text = typeof value === 'boolean' ? (value ? '✓' : '') : textOf(value);
      return textCell(kind === 'time' ? moment(text) : text, kind);
    });
  }

  private _outcomeCell(outcome: string): HTMLElement {
    const node = cell('', 'jp-agent-Grid-outcome');
    node.dataset.outcome = outcome === 'success' ? 'good' : outcome ? 'poor' : 'none';
    const symbol = Object.hasOwn(SYMBOLS, outcome) ? SYMBOLS[outcome] : outcome ? '■' : '·';
    node.append(element('span', '', symbol ?? '', { 'aria-hidden': 'true' }));
    node.append(` ${visible(outcome.replace(/_/g, ' ') || this._options.words.__('not yet'))}`);
    return node;
  }

  private _groupCell(group: IGroup, isOpen: boolean): HTMLElement {
    const { words } = this._options;
    const node = cell('', 'jp-agent-Grid-grouping');
    const count = words.__(group.count === 1 ? '%1 call' : '%1 calls', group.count.toLocaleString());
    const faults = words.__('%1 failed', group.errors.toLocaleString());
    const { medianMs, longestMs, totalMs } = group;
    const times = [
      medianMs === null ? '' : words.__('median %1', duration(medianMs)),
      totalMs === null ? '' : words.__('%1 in all', duration(totalMs))
    ];
    node.append(
      element('span', 'jp-agent-Grid-twist', isOpen ? '▾' : '▸', { 'aria-hidden': 'true' }),
      element('span', 'jp-agent-Grid-groupname', group.label),
      element(
        'span',
        'jp-agent-Grid-groupfacts',
        [count, ...(group.errors ? [faults] : []), ...times.filter(Boolean)].join(' · ')
      ),
      element('span', 'jp-agent-Grid-longest', longestMs === null ? '' : words.__('longest')),
      latencyBar(longestMs, this._told?.longestMs ?? 0, words)
    );
    return node;
  }

  // --- what somebody does -------------------------------------------------------------------------------------------

  /** Asks for another look. Who is quicker than the kernel adds to what was asked for last. */
  private _look(change: Partial<ILook>): void {
    if (this._wanted) {
      this._wanted = { ...this._wanted, ...change };
      void this._ask({ type: 'look', look: this._wanted });
    }
  }

  private _sort(column: number): void {
    const name = this._told?.columns[column]?.name;
    const look = this._wanted;
    if (!look || name === undefined) {
      return;
    }
    const isFirst = look.sort !== name;
    const isLast = !isFirst && look.descending;
    const sort = isLast ? null : name;
    this._look({ sort, descending: !isFirst && !isLast });
  }

  private _press(at: number): void {
    const line = this._lines.at(at);
    if ('group' in line) {
      this._fold(at, !this._lines.isOpen(line.group));
    } else if (line.row === this._opened.at) {
      this._opened.close();
    } else {
      void this._open(line.row);
    }
  }

  private _fold(at: number, isOpen: boolean): void {
    const line = this._lines.at(at);
    const row = 'group' in line ? this._groups.get(line.group) : undefined;
    if (!('group' in line) || !row || this._lines.isOpen(line.group) === isOpen) {
      return;
    }
    if (isOpen) {
      this._lines.open(line.group, readGroup(row));
    } else {
      this._lines.close(line.group);
    }
    this._showGrid();
  }

  private async _open(row: number): Promise<void> {
    this._opened.begin(row);
    const answer = this._options.ask ? await this._ask({ type: 'row', at: row }) : { row: this._savedOpened[row] };
    if (this._opened.at === row && answer !== null && !this.isDisposed) {
      const fields = fieldsOf(fieldsOf(answer).row);
      this._opened.show(textOf(fields.name), fields);
    }
  }

  private readonly _frame: Frame;
  private readonly _toolbar: Toolbar | null;
  private readonly _grid: Grid;
  private readonly _opened: OpenedRow;
  private readonly _rows: Pages<Row> = new Pages<Row>(
    async (start, stop) => readPage(await this._options.ask?.({ type: 'rows', start, stop })),
    () => this._arrived()
  );
  private readonly _groups: Pages<Row> = new Pages<Row>(
    async (start, stop) => readPage(await this._options.ask?.({ type: 'groups', start, stop })),
    () => this._arrived()
  );
  private _told: ITold | null = null;
  private _wanted: ILook | null = null;
  private _lines = new Lines(0, null);
  private _wasOpen: number[] = [];
  private _saved: ReadonlyArray<Row> = [];
  private _savedOpened: ReadonlyArray<Fields> = [];
}

function textCell(text: string, kind: Kind): HTMLElement {
  const node = cell('', kind === 'text' ? 'jp-agent-Grid-text' : '');
  node.append(element('span', '', text));
  return node;
}
