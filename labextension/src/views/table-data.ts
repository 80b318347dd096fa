/** What the kernel tells of a table, read with care; and where in a grouped table which row stands. */

import { countOf, fieldsOf, listOf, numberOf, textOf, textOrNull } from './read';

export type Kind = 'text' | 'name' | 'number' | 'length' | 'time' | 'bool';
const KINDS: ReadonlySet<string> = new Set(['text', 'name', 'number', 'length', 'time', 'bool']);

export type GroupBy = 'turn' | 'tool';

export interface ILook {
  readonly sort: string | null;
  readonly descending: boolean;
  readonly search: string;
  readonly tool: string | null;
  readonly outcome: string | null;
  readonly group: GroupBy | null;
}

export interface ITold {
  readonly version: number;
  /** Rows that there are, and those that pass the filters. */
  readonly total: number;
  readonly shown: number;
  /** How many groups there are; null where rows are in none. */
  readonly groups: number | null;
  readonly columns: ReadonlyArray<{ readonly name: string; readonly kind: Kind }>;
  readonly tools: ReadonlyArray<string>;
  readonly outcomes: ReadonlyArray<string>;
  readonly longestMs: number;
  readonly look: ILook;
  readonly isCalls: boolean;
}

/** A row of the table, value by column. */
export type Row = ReadonlyArray<unknown>;

export interface IGroup {
  readonly label: string;
  readonly start: number;
  readonly count: number;
  readonly errors: number;
  readonly medianMs: number | null;
  readonly longestMs: number | null;
  readonly totalMs: number | null;
}

export function readTold(value: unknown): ITold {
  const told = fieldsOf(value);
  const look = fieldsOf(told.look);
  const group = textOf(look.group);
  return {
    version: countOf(told.version),
    total: countOf(told.total),
    shown: countOf(told.shown),
    groups: numberOf(told.groups) === null ? null : countOf(told.groups),
    columns: listOf(told.columns)
      .map(fieldsOf)
      .map(({ name, kind }) => ({ name: textOf(name), kind: (KINDS.has(textOf(kind)) ? kind : 'text') as Kind }))
      .slice(0, 100),
    tools: listOf(told.tools).map(textOf),
    outcomes: listOf(told.outcomes).map(textOf),
    longestMs: numberOf(told.longestMs) ?? 0,
    look: {
      sort: textOrNull(look.sort),
      descending: look.descending === true,
      search: textOf(look.search),
      tool: textOrNull(look.tool),
      outcome: textOrNull(look.outcome),
      group: group === 'turn' || group === 'tool' ? group : null
    },
    isCalls: told.isCalls === true
  };
}

export function readPage(value: unknown): { readonly version: number; readonly rows: ReadonlyArray<Row> } {
  const { version, rows } = fieldsOf(value);
  return { version: countOf(version), rows: listOf(rows).map(listOf) };
}

export function readGroup(row: Row): IGroup {
  const [label, start, count, errors, median, longest, total] = row;
  return {
    label: textOf(label),
    start: countOf(start),
    count: countOf(count),
    errors: countOf(errors),
    medianMs: numberOf(median),
    longestMs: numberOf(longest),
    totalMs: numberOf(total)
  };
}

/** A line of the table: a row, or the head of a group. */
export type Line = { readonly row: number } | { readonly group: number };

/** Which groups are unfolded, and what stands on which line because of it. */
export class Lines {
  constructor(
    private readonly _rows: number,
    private readonly _groups: number | null
  ) {}

  get count(): number {
    return this._groups === null ? this._rows : this._opened.reduce((sum, { count }) => sum + count, this._groups);
  }

  isOpen(group: number): boolean {
    return this._opened.some(one => one.group === group);
  }

  /** The unfolded groups, in order. */
  get opened(): ReadonlyArray<{ readonly group: number; readonly start: number; readonly count: number }> {
    return this._opened;
  }

  open(group: number, { start, count }: IGroup): void {
    this.close(group);
    this._opened.push({ group, start, count });
    this._opened.sort((one, other) => one.group - other.group);
  }

  close(group: number): void {
    this._opened = this._opened.filter(one => one.group !== group);
  }

  at(line: number): Line {
    if (this._groups === null) {
      return { row: line };
    }
    let before = 0;
    for (const { group, start, count } of this._opened) {
      const head = group + before;
      if (line <= head) {
        break;
      }
      if (line <= head + count) {
        return { row: start + line - head - 1 };
      }
      before += count;
    }
    return { group: line - before };
  }

  private _opened: { group: number; start: number; count: number }[] = [];
}
