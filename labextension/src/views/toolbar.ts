/** What is listed in a table, and in which groups: a search, two choices, and how it is grouped. */

import type { IDisposable } from '@lumino/disposable';

import { element, visible } from '../content/element';
import type { IWords } from '../tokens';
import type { GroupBy, ILook, ITold } from './table-data';

/** A search begins so long after the last letter, in milliseconds. */
const PAUSE = 250;

export class Toolbar implements IDisposable {
  constructor(
    private readonly _words: IWords,
    private readonly _changed: (change: Partial<ILook>) => void
  ) {
    this._search.placeholder = _words.__('Search');
    this._search.addEventListener('input', () => this._later());
    this._search.addEventListener('keydown', event => {
      if (event.key === 'Enter') {
        this._now();
      }
    });
    for (const select of [this._tool, this._outcome, this._group]) {
      select.addEventListener('change', () => this._now());
    }
    this.node.append(
      this._search,
      labelled(_words.__('Tool'), this._tool),
      labelled(_words.__('Outcome'), this._outcome),
      labelled(_words.__('Group by'), this._group)
    );
    this._search.setAttribute('aria-label', _words.__('Search in all texts'));
    this._search.maxLength = 500;
  }

  readonly node = element('div', 'jp-agent-Toolbar');

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Offers what there is to choose from, and shows what is chosen. What is being typed is left alone. */
  show({ look, tools, outcomes, isCalls }: ITold): void {
    if (this._search !== document.activeElement) {
      this._search.value = look.search;
    }
    const all = this._words.__('all');
    offer(this._tool, [['', all], ...withChosen(tools, look.tool)], look.tool ?? '');
    const faults: [string, string] = ['faults', this._words.__('all but success')];
    const known = withChosen(outcomes, look.outcome === 'faults' ? null : look.outcome);
    offer(this._outcome, [['', all], faults, ...known], look.outcome ?? '');
    const groups: [string, string][] = [
      ['', this._words.__('nothing')],
      ['turn', this._words.__('turn')],
      ['tool', this._words.__('tool')]
    ];
    offer(this._group, groups, look.group ?? '');
    hide(this._tool, tools.length < 2 && look.tool === null);
    hide(this._outcome, outcomes.length === 0 && look.outcome === null);
    hide(this._group, !isCalls);
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._timer);
    this.node.remove();
  }

  private _later(): void {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._now(), PAUSE);
  }

  private _now(): void {
    clearTimeout(this._timer);
    this._changed({
      search: this._search.value,
      tool: this._tool.value || null,
      outcome: this._outcome.value || null,
      group: (this._group.value as GroupBy | '') || null
    });
  }

  private readonly _search = element('input', 'jp-agent-Toolbar-search', '', { type: 'search' });
  private readonly _tool = element('select', 'jp-agent-Toolbar-select');
  private readonly _outcome = element('select', 'jp-agent-Toolbar-select');
  private readonly _group = element('select', 'jp-agent-Toolbar-select');
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}

function labelled(text: string, select: HTMLSelectElement): HTMLElement {
  const node = element('label', 'jp-agent-Toolbar-label');
  node.append(element('span', '', text), select);
  return node;
}

function hide(select: HTMLSelectElement, isHidden: boolean): void {
  (select.parentElement ?? select).hidden = isHidden;
}

function withChosen(names: ReadonlyArray<string>, chosen: string | null): [string, string][] {
  const all = chosen === null || names.includes(chosen) ? names : [...names, chosen];
  return all.map(name => [name, visible(name.replace(/_/g, ' ')).slice(0, 60)]);
}

function offer(select: HTMLSelectElement, choices: ReadonlyArray<[string, string]>, chosen: string): void {
  const said = JSON.stringify(choices);
  if (select.dataset.offered !== said) {
    select.dataset.offered = said;
    select.replaceChildren(...choices.map(([value, label]) => element('option', '', label, { value })));
  }
  select.value = chosen;
}
