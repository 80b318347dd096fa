/** A run over time: model calls and tool calls as bars where they were, with what a turn's tokens were made of. */

import { element } from '../content/element';
import { duration } from '../view/figures';
import { cell, type IColumn, numberCell } from './grid';
import { latencyLevel, latencyWord, mark } from './levels';
import { type Fields, numberOf, textOf } from './read';
import { RowsView } from './rows-view';
import { stack } from './stack';
import type { IViewOptions } from './view';

export class Timeline extends RowsView {
  constructor(options: IViewOptions) {
    super(options, 'Timeline', options.words.__('Timeline'));
  }

  protected override columns(): IColumn[] {
    const { words } = this.options;
    return [
      { label: words.__('Turn'), width: '44px', isNumber: true },
      { label: words.__('Model or tool'), width: 'minmax(100px, 1fr)' },
      { label: words.__('From start to end'), width: 'minmax(160px, 3fr)' },
      { label: words.__('Took'), width: '86px', isNumber: true },
      { label: words.__('Tokens: prompt, output'), width: 'minmax(210px, 2fr)' }
    ];
  }

  protected override measure(): void {
    const froms = this.rows.map(began).filter(at => at !== null);
    const ends = this.rows.map(row => (began(row) ?? 0) + (numberOf(row.duration) ?? 0));
    this._from = froms.reduce((least, at) => Math.min(least, at), Infinity);
    this._length = Math.max(1, ends.reduce((most, at) => Math.max(most, at), 0) - this._from);
    this._most = this.rows.reduce((most, row) => Math.max(most, tokensOf(row)), 1);
  }

  protected override said(): string {
    return Number.isFinite(this._from) ? this.options.words.__('%1 in all', duration(this._length)) : '';
  }

  protected override mark(row: HTMLElement, { kind }: Fields): void {
    row.dataset.kind = kind === 'turn' ? 'turn' : 'tool';
  }

  protected override cells(row: Fields): HTMLElement[] {
    const isTurn = row.kind === 'turn';
    const ms = numberOf(row.duration);
    const name = cell('', isTurn ? 'jp-agent-Timeline-model' : 'jp-agent-Timeline-tool');
    name.append(
      element('span', '', `${isTurn ? '◇' : '└'} `, { 'aria-hidden': 'true' }),
      element('span', '', textOf(row.name))
    );
    const took = numberCell('');
    if (ms !== null) {
      const level = latencyLevel(ms);
      took.append(`${duration(ms)} `);
      if (!isTurn) {
        took.append(mark(level, latencyWord(level, this.options.words)));
      }
    } else if (!textOf(row.outcome)) {
      took.append('–');
    }
    return [
      numberCell(String(numberOf(row.turn) ?? '')),
      name,
      this._bar(row, isTurn, ms),
      took,
      this._tokens(row, isTurn)
    ];
  }

  protected override pressed(at: number): void {
    this.options.ask?.({ type: 'select', at }).catch((fault: unknown) => {
      this.warn(fault instanceof Error ? fault.message : String(fault));
    });
  }

  private _bar(row: Fields, isTurn: boolean, ms: number | null): HTMLElement {
    const node = cell('', 'jp-agent-Timeline-track');
    const from = began(row);
    if (from !== null) {
      const bar = element('span', 'jp-agent-Timeline-bar', '', { 'aria-hidden': 'true' });
      const start = Math.max(0, Math.min(1, (from - this._from) / this._length));
      bar.style.left = `${(100 * start).toFixed(2)}%`;
      bar.style.width = `${(100 * Math.min(1 - start, Math.max(0, ms ?? 0) / this._length)).toFixed(2)}%`;
      bar.dataset.level = isTurn ? 'model' : latencyLevel(ms ?? 0);
      node.append(
        bar,
        element('span', 'jp-agent-View-unseen', this.options.words.__('begun after %1', duration(from - this._from)))
      );
    }
    return node;
  }

  private _tokens(row: Fields, isTurn: boolean): HTMLElement {
    const { words } = this.options;
    if (!isTurn) {
      return cell(textOf(row.outcome).replace(/_/g, ' '));
    }
    const [input, cached] = [numberOf(row.input_tokens), numberOf(row.cache_read_tokens) ?? 0];
    const [output, reasoning] = [numberOf(row.output_tokens) ?? 0, numberOf(row.reasoning_tokens) ?? 0];
    if (input === null) {
      return cell(words.__('tokens unknown'));
    }
    const node = cell('', 'jp-agent-Stack-cell');
    const parts = [
      { kind: 'hit', count: cached },
      { kind: 'miss', count: Math.max(0, input - cached) },
      { kind: 'output', count: Math.max(0, output - reasoning) },
      { kind: 'reasoning', count: reasoning }
    ];
    // The bar shows what they are made of, and there is no room to say it: it is there to be heard, and pointed at.
    const unseen = (text: string): HTMLElement => element('span', 'jp-agent-View-unseen', text);
    const said = element('span', 'jp-agent-Stack-text', words.__('%1 in', input.toLocaleString()));
    said.append(
      ...(cached ? [unseen(`, ${words.__('%1 cached', cached.toLocaleString())}`)] : []),
      `, ${words.__('%1 out', output.toLocaleString())}`,
      ...(reasoning ? [unseen(`, ${words.__('%1 reasoning', reasoning.toLocaleString())}`)] : [])
    );
    said.title = said.textContent ?? '';
    node.append(stack(parts, this._most), said);
    return node;
  }

  private _from = 0;
  private _length = 1;
  private _most = 1;
}

function began(row: Fields): number | null {
  const at = Date.parse(textOf(row.started_at));
  return Number.isNaN(at) ? null : at;
}

function tokensOf(row: Fields): number {
  return (numberOf(row.input_tokens) ?? 0) + (numberOf(row.output_tokens) ?? 0);
}
