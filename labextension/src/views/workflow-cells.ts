/** What is in the list of a workflow's calls: how a call stands, why, what it took; and the heads of phases. */

import { element, visible } from '../content/element';
import type { IWords } from '../tokens';
import { duration, money } from '../view/figures';
import { cell, type IColumn, numberCell } from './grid';
import { stack } from './stack';
import { countsOf, type ICall, type ISection, type IWorkflow, type State } from './workflow-data';

/** Each state has a mark of a shape of its own, since not everybody sees its colour. */
const MARKS: Readonly<Record<State, string>> = {
  store: '●',
  live: '✓',
  running: '▸',
  queued: '·',
  waiting: '?',
  failed: '✗'
};

/** In this order parts of a bar stand beside each other. */
const ORDER: ReadonlyArray<State> = ['store', 'live', 'failed', 'waiting', 'running', 'queued'];

export function stateWord(state: State, words: IWords, isPast: boolean): string {
  const known: Record<State, string> = {
    store: words.__('from the store'),
    live: words.__('ran live'),
    running: isPast ? words.__('was running') : words.__('running'),
    queued: isPast ? words.__('was queued') : words.__('queued'),
    waiting: words.__('waits for a person'),
    failed: words.__('failed')
  };
  return known[state];
}

/** Returns a bar of how calls stand. It is said in words beside it. */
export function stateBar(counts: Readonly<Record<State, number>>, most: number): HTMLElement {
  return stack(
    ORDER.map(kind => ({ kind, count: counts[kind] })),
    most
  );
}

/** Returns how many calls came from the store, and what is to be known of the others, part by part. */
export function countsSaid(counts: Readonly<Record<State, number>>, words: IWords, isPast: boolean): string[] {
  const rest: State[] = ['waiting', 'running', 'queued', 'failed'];
  return rest.filter(state => counts[state] > 0).map(state => `${counts[state].toLocaleString()} ${said(state)}`);

  function said(state: State): string {
    return state === 'waiting'
      ? words.__(counts.waiting === 1 ? 'waits for a person' : 'wait for a person')
      : stateWord(state, words, isPast);
  }
}

/** Returns what was spent and saved, part by part. */
export function spentSaid(
  { tokens, cost, savedTokens, savedCost }: IWorkflow['sums'],
  words: IWords
): [spent: string, saved: string] {
  const priced = (count: number, dollars: number): string =>
    `${count.toLocaleString()}${dollars > 0 ? ` (${money(dollars)})` : ''}`;
  return [
    words.__('%1 tokens spent', priced(tokens, cost)),
    savedTokens > 0 ? words.__('%1 saved', priced(savedTokens, savedCost)) : ''
  ];
}

/** Which columns there are: money only where any was spent or saved. */
export class CallCells {
  constructor(private readonly _words: IWords) {}

  /** Looks at all calls before any is drawn; `isPast`: nobody tells what becomes of those that went on. */
  measure(calls: ReadonlyArray<ICall>, isPast: boolean): void {
    this._isPast = isPast;
    this._hasCost = calls.some(({ cost, savedCost }) => (cost ?? 0) > 0 || (savedCost ?? 0) > 0);
  }

  columns(): IColumn[] {
    const { _words: words } = this;
    return [
      { label: words.__('Call'), width: 'minmax(130px, 2fr)' },
      { label: words.__('State'), width: '168px' },
      { label: words.__('Why'), width: 'minmax(140px, 2.2fr)' },
      { label: words.__('Model'), width: 'minmax(64px, 0.6fr)' },
      { label: words.__('Tokens'), width: '104px', isNumber: true },
      ...(this._hasCost ? [{ label: words.__('Cost'), width: '84px', isNumber: true }] : []),
      { label: words.__('Time'), width: '74px', isNumber: true }
    ];
  }

  /** Returns the cells of a call, so many seconds after it was told. */
  call(call: ICall, isIndented: boolean, later: number): HTMLElement[] {
    const name = cell(call.name, 'jp-agent-Workflow-name');
    name.title = visible(call.name);
    name.dataset.indented = String(isIndented);
    return [
      name,
      this._state(call),
      this._why(call, later),
      cell(call.model),
      this._tokens(call),
      ...(this._hasCost ? [this._cost(call)] : []),
      this._time(call, later)
    ];
  }

  section({ phase, calls }: ISection, isOpen: boolean): HTMLElement {
    const { _words: words } = this;
    const counts = countsOf(calls);
    const node = cell('', 'jp-agent-Grid-grouping');
    const from = words.__('%1 of %2 from the store', counts.store.toLocaleString(), calls.length.toLocaleString());
    node.append(
      element('span', 'jp-agent-Grid-twist', isOpen ? '▾' : '▸', { 'aria-hidden': 'true' }),
      element('span', 'jp-agent-Workflow-phase', phase || words.__('no phase')),
      element('span', 'jp-agent-Grid-groupfacts', [from, ...countsSaid(counts, words, this._isPast)].join(' · ')),
      stateBar(counts, calls.length)
    );
    return node;
  }

  private _state({ state, tries, silent }: ICall): HTMLElement {
    const node = cell('', 'jp-agent-Workflow-state');
    const isStalled = state === 'running' && silent !== null && !this._isPast;
    node.dataset.state = state;
    node.dataset.stalled = String(isStalled);
    const again = tries > 1 ? `, ${this._words.__('%1 tries', tries.toLocaleString())}` : '';
    node.append(
      element('span', 'jp-agent-Workflow-mark', MARKS[state], { 'aria-hidden': 'true' }),
      `${isStalled ? this._words.__('stalled') : stateWord(state, this._words, this._isPast)}${again}`
    );
    return node;
  }

  private _why({ why, change, error, state, silent }: ICall, later: number): HTMLElement {
    const reason = [why, change].filter(Boolean).join(': ');
    const silence =
      state === 'running' && silent !== null && !this._isPast
        ? this._words.__('nothing has come for %1', duration(1_000 * (silent + later)))
        : '';
    const said = [silence, reason].filter(Boolean).join(' · ');
    const node = cell('', 'jp-agent-Workflow-why');
    if (state === 'failed' && error) {
      node.append(element('span', 'jp-agent-Workflow-fault', error), said && element('span', '', ` · ${said}`));
      node.title = visible(`${error}${said && ` · ${said}`}`);
    } else {
      node.append(element('span', '', said));
      node.title = visible(said);
    }
    return node;
  }

  private _tokens({ state, tokens, savedTokens }: ICall): HTMLElement {
    if (state === 'store') {
      return saved(savedTokens === null ? '' : this._words.__('%1 saved', savedTokens.toLocaleString()));
    }
    return numberCell(tokens === null ? '' : tokens.toLocaleString());
  }

  private _cost({ state, cost, savedCost }: ICall): HTMLElement {
    const dollars = state === 'store' ? savedCost : cost;
    const node = numberCell(dollars === null ? '' : money(dollars));
    node.classList.toggle('jp-agent-Workflow-saved', state === 'store');
    return node;
  }

  private _time({ state, seconds }: ICall, later: number): HTMLElement {
    if (seconds === null || state === 'store') {
      return numberCell('');
    }
    return numberCell(duration(1_000 * (seconds + (state === 'running' ? later : 0))));
  }

  private _hasCost = false;
  private _isPast = false;
}

function saved(text: string): HTMLElement {
  const node = numberCell(text);
  node.classList.add('jp-agent-Workflow-saved');
  return node;
}
