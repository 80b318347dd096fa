/** How much of each prompt the provider's cache had, turn by turn, and why not more, in words. */

import { element } from '../content/element';
import { percent } from '../view/figures';
import { cell, type IColumn, numberCell } from './grid';
import { hitLevel, hitWord, mark } from './levels';
import { type Fields, numberOf, textOf } from './read';
import { RowsView } from './rows-view';
import { stack } from './stack';
import type { IViewOptions } from './view';

export class CacheChart extends RowsView {
  constructor(options: IViewOptions) {
    super(options, 'Cache', options.words.__('Cache'));
  }

  protected override columns(): IColumn[] {
    const { words } = this.options;
    return [
      ...(this._hasRuns ? [{ label: words.__('Run'), width: 'minmax(90px, 1fr)' }] : []),
      { label: words.__('Turn'), width: '52px', isNumber: true },
      { label: words.__('Hit rate'), width: '124px' },
      { label: words.__('Prompt tokens: cached, not cached'), width: 'minmax(240px, 3fr)' },
      { label: words.__('Why not more'), width: 'minmax(160px, 2fr)' }
    ];
  }

  protected override measure(): void {
    this._most = this.rows.reduce((most, row) => Math.max(most, numberOf(row.input_tokens) ?? 0), 1);
    this._hasRuns = new Set(this.rows.map(row => row.run_id)).size > 1;
  }

  protected override said(): string {
    return '';
  }

  protected override cells(row: Fields): HTMLElement[] {
    const { words } = this.options;
    const [input, read] = [numberOf(row.input_tokens), numberOf(row.cache_read_tokens)];
    const rate = numberOf(row.hit_rate);
    const hit = cell('', 'jp-agent-Cache-rate');
    if (rate === null) {
      hit.append(words.__('unknown'));
    } else {
      const level = hitLevel(rate);
      const word = hitWord(level, words);
      hit.append(mark(level, word), element('span', '', `${percent(rate)} ${word}`));
    }
    const bar = cell('', 'jp-agent-Stack-cell');
    if (input === null) {
      bar.append(words.__('tokens unknown'));
    } else {
      const known = read ?? 0;
      const parts = [
        { kind: 'hit', count: known },
        { kind: 'miss', count: Math.max(0, input - known) }
      ];
      const said = words.__('%1 of %2', read === null ? '?' : read.toLocaleString(), input.toLocaleString());
      bar.append(stack(parts, this._most), element('span', 'jp-agent-Stack-text', said));
    }
    const turn = numberCell(String(numberOf(row.turn) ?? ''));
    const runs = this._hasRuns ? [cell(textOf(row.run_id))] : [];
    return [...runs, turn, hit, bar, cell(why(row))];
  }

  private _most = 1;
  private _hasRuns = false;
}

/** Returns the cause with the region that it is about, as it was found. */
function why(row: Fields): string {
  const cause = textOf(row.cause).replace(/_/g, ' ');
  const region = textOf(row.region);
  const [before, after] = [textOf(row.before), textOf(row.after)];
  const change = before || after ? ` (${[before, after].filter(Boolean).join(' → ')})` : '';
  return cause ? `${cause}${region ? `: ${region}` : ''}${change}` : '';
}
