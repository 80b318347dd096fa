/** Runs side by side: a column each, a line a figure, and what was said last. */

import { element, prose, visible } from '../content/element';
import type { RunStatus } from '../protocol';
import { money, statusWord } from '../view/figures';
import { Frame } from './frame';
import { durationBar } from './levels';
import { type Fields, fieldsOf, listOf, numberOf, textOf } from './read';
import type { IView, IViewOptions } from './view';

/** No kernel tells more, and each is a column of the page. */
const MOST_RUNS = 20;

export class CompareView implements IView {
  constructor(private readonly _options: IViewOptions) {
    const { words, ask } = _options;
    this._frame = new Frame('Compare', words.__('Runs side by side'));
    this._scroller.setAttribute('aria-label', words.__('Runs side by side'));
    this._scroller.append(this._table);
    this._frame.body.append(this._scroller);
    this.node.dataset.source = ask ? 'kernel' : 'copy';
  }

  get node(): HTMLElement {
    return this._frame.node;
  }

  get isDisposed(): boolean {
    return this._frame.isDisposed;
  }

  show(value: unknown): void {
    const { words, ask } = this._options;
    const { title, rows } = fieldsOf(value);
    const runs = listOf(rows).slice(0, MOST_RUNS).map(fieldsOf);
    this._frame.title.textContent = visible(textOf(title));
    this._frame.say(ask === null ? words.__('Saved copy') : '');
    const head = element('tr', '');
    head.append(heading('col', words.__('Run')), ...runs.map(run => heading('col', textOf(run.run_id))));
    const body = element('tbody', '');
    for (const [label, said] of this._lines(runs)) {
      const line = element('tr', '');
      line.append(heading('row', label), ...runs.map(run => place(said(run))));
      body.append(line);
    }
    const thead = element('thead', '');
    thead.append(head);
    this._table.replaceChildren(thead, body);
  }

  warn(trouble: string | null): void {
    this._frame.warn(trouble);
  }

  dispose(): void {
    this._frame.dispose();
  }

  private _lines(runs: ReadonlyArray<Fields>): [string, (run: Fields) => string | HTMLElement][] {
    const { words } = this._options;
    const longest = runs.reduce((most, { duration: ms }) => Math.max(most, numberOf(ms) ?? 0), 0);
    const count = (name: string) => (run: Fields) => numberOf(run[name])?.toLocaleString() ?? words.__('unknown');
    const cost = (run: Fields): string => {
      const dollars = numberOf(run.cost);
      return dollars === null ? words.__('unknown') : money(dollars);
    };
    const differs = (run: Fields): string => {
      const turn = numberOf(run.first_difference);
      return run === runs[0]
        ? words.__('compared with this')
        : turn === null
          ? words.__('none')
          : words.__('turn %1', turn);
    };
    return [
      [words.__('Status'), run => statusWord(textOf(run.status) as RunStatus, words)],
      [words.__('Model'), run => textOf(run.model)],
      [words.__('Turns'), count('turns')],
      [words.__('Tool calls'), count('tool_calls')],
      [words.__('Of these failed'), count('failed_calls')],
      [words.__('Prompt tokens'), count('input_tokens')],
      [words.__('Of these cached'), count('cache_read_tokens')],
      [words.__('Output tokens'), count('output_tokens')],
      [words.__('Cost'), cost],
      [words.__('Took'), run => durationBar(numberOf(run.duration), longest)],
      [words.__('First other turn'), differs],
      [words.__('Last answer'), run => prose('div', 'jp-agent-Compare-answer', textOf(run.answer))]
    ];
  }

  private readonly _frame: Frame;
  private readonly _scroller = element('div', 'jp-agent-Compare-scroller', '', { role: 'region', tabindex: '0' });
  private readonly _table = element('table', 'jp-agent-Compare-table');
}

function heading(scope: 'col' | 'row', text: string): HTMLElement {
  return element('th', '', text, { scope });
}

function place(content: string | HTMLElement): HTMLElement {
  const node = element('td', '', typeof content === 'string' ? content : '');
  if (typeof content !== 'string') {
    node.append(content);
  }
  return node;
}
