/** Everything that waits for the person in any of their runs, run by run, decided here. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { element, visible } from '../content/element';
import type { IRunModel, IRuns, IWords } from '../tokens';
import type { Waiting } from '../waiting';
import { DecisionDock } from './dock';
import { decisionIn } from './endings';

/** What waits, as `WaitingModel` has it. */
export interface IWaiting {
  readonly items: ReadonlyArray<Waiting>;
  readonly changed: ISignal<unknown, void>;

  /** Whether this is what the gateway says now. */
  readonly isCurrent: boolean;
}

export interface IWaitingViewOptions {
  readonly words: IWords;
  readonly runs: IRuns;
  readonly waiting: IWaiting;
}

/** How much of a prompt names its run, in characters. */
const NAME = 120;

export class WaitingView implements IDisposable {
  constructor(options: IWaitingViewOptions) {
    this._options = options;
    this._state.setAttribute('role', 'status');
    this.node.append(this._state, this._list);
    options.waiting.changed.connect(this._update, this);
    this._update();
  }

  readonly node = element('div', 'jp-agent-Waiting');

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
      this._groups.forEach(group => group.dispose());
      this._groups.clear();
      this.node.remove();
    }
  }

  private _update(): void {
    const { items } = this._options.waiting;
    for (const { runId } of items) {
      if (!this._groups.has(runId)) {
        const group = new Group(this._options, runId, () => this._drop(runId));
        this._groups.set(runId, group);
        this._list.append(group.node);
      }
    }
    for (const [runId, group] of this._groups) {
      group.show(items.filter(item => item.runId === runId));
    }
    this._showState();
  }

  private _drop(runId: string): void {
    this._groups.get(runId)?.dispose();
    this._groups.delete(runId);
    this._showState();
  }

  private _showState(): void {
    const { words, waiting } = this._options;
    const lost = words.__('The gateway cannot be reached at the moment: what is shown may have been decided already.');
    const loading = words.__('What waits for you is not known yet.');
    const empty = this._groups.size === 0;
    let text = empty ? words.__('Nothing waits for you.') : '';
    if (!waiting.isCurrent) {
      text = empty ? loading : lost;
    }
    this._state.dataset.current = String(waiting.isCurrent);
    if (this._state.textContent !== text) {
      this._state.textContent = text;
    }
  }

  private readonly _options: IWaitingViewOptions;
  private readonly _groups = new Map<string, Group>();
  private readonly _state = element('div', 'jp-agent-Waiting-state');
  private readonly _list = element('div', 'jp-agent-Waiting-list');
  private _isDisposed = false;
}

/** What waits in one run. It holds a share of the run for as long as it shows something. */
class Group implements IDisposable {
  constructor({ words, runs }: IWaitingViewOptions, runId: string, emptied: () => void) {
    this._run = runs.open(runId);
    this._emptied = emptied;
    this._dock = new DecisionDock({
      words,
      gateway: runs.gateway,
      decide: (id, decision) => this._run.decide(id, decision),
      answer: (id, content) => this._run.answer(id, content)
    });
    this._dock.emptied.connect(this._leave, this);
    this.node.setAttribute('aria-label', words.__('Run %1', runId));
    this._about.textContent = words.__('Run %1', runId);
    this.node.append(this._name, this._about, this._dock.node);
    this._run.changed.connect(this._update, this);
  }

  readonly node = element('section', 'jp-agent-Waiting-run');

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Shows these of the run's decisions, as soon as the run is known. */
  show(items: ReadonlyArray<Waiting>): void {
    this._ids = new Set(items.map(({ id }) => id));
    this._update();
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
    this._run.dispose();
    this._dock.dispose();
    this.node.remove();
  }

  private _update(): void {
    const { transcript } = this._run;
    const { approvals = [], inputs = [], prompt = '' } = transcript ?? {};
    this._name.textContent = visible(prompt.length > NAME ? `${prompt.slice(0, NAME)}…` : prompt);
    this._dock.update(
      approvals.filter(({ approvalId }) => this._ids.has(approvalId)),
      inputs.filter(({ requestId }) => this._ids.has(requestId)),
      id => decisionIn(transcript, id)
    );
    this._leave();
  }

  private _leave(): void {
    if (this._ids.size === 0 && this._dock.isEmpty) {
      this._emptied();
    }
  }

  private readonly _run: IRunModel;
  private readonly _emptied: () => void;
  private readonly _dock: DecisionDock;
  private readonly _name = element('div', 'jp-agent-Waiting-name');
  private readonly _about = element('div', 'jp-agent-Waiting-about');
  private _ids: ReadonlySet<string> = new Set();
  private _isDisposed = false;
}
