/** Everything that waits for a person in any of one's runs, made from their transcripts: no DOM. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { WAITING } from './activity';
import type { AnyFrame, CompactRun, Decision, Effect } from './protocol';
import type { IActivity, IConnection, IRunModel, IRuns, RunState } from './tokens';

/** What waits for a person: a tool call for an approval, or a question for an answer. */
export type Waiting =
  | {
      readonly kind: 'approval';
      readonly id: string;
      readonly runId: string;
      readonly toolCallId: string;
      readonly toolName: string;
      readonly effects: ReadonlyArray<Effect>;
    }
  | { readonly kind: 'input'; readonly id: string; readonly runId: string };

/** How something stopped waiting: by a decision, an answer, for want of one, or because its run is over. */
export type Ending = Decision | 'answered' | 'unanswered' | 'over';

interface IFollowed {
  readonly run: IRunModel;
  items: ReadonlyMap<string, Waiting>;
  state: RunState;
  /** How things ended, as far as events told: a transcript does not say of questions, nor of which of two approvals. */
  readonly told: Map<string, Ending>;
}

/** A run is followed from its first wait to its end, over the share of it that every view of the page has. */
export class WaitingModel implements IDisposable {
  constructor(runs: IRuns, activity: IActivity) {
    this._runs = runs;
    this._activity = activity;
    activity.changed.connect(this._onActivity, this);
    runs.gateway.connection.received.connect(this._onFrame, this);
    this._onActivity();
  }

  /** What waits, in the order in which each run asked. */
  get items(): ReadonlyArray<Waiting> {
    return [...this._followed.values()].flatMap(({ items }) => [...items.values()]);
  }

  /** Whether everything is known that waits. */
  get isCurrent(): boolean {
    const states = [...this._followed.values()].map(({ run }) => run.state);
    return this._activity.isCurrent && states.every(state => state === 'live' || state === 'ended');
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Tells what stopped waiting, and how. */
  get ended(): ISignal<this, readonly [Waiting, Ending]> {
    return this._ended;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._followed.forEach(({ run }) => run.dispose());
      this._followed.clear();
      Signal.clearData(this);
    }
  }

  private _onActivity(): void {
    if (this._activity.isCurrent) {
      this._follow();
    } // else what is known may still wait
    this._changed.emit();
  }

  private _follow(): void {
    const { active } = this._activity;
    for (const [runId, followed] of [...this._followed]) {
      if (!active.has(runId)) {
        this._followed.delete(runId);
        followed.run.dispose();
        this._end(followed, new Map());
        this._changed.emit();
      }
    }
    for (const [runId, status] of active) {
      if (WAITING.includes(status) && !this._followed.has(runId)) {
        const run = this._runs.open(runId);
        this._followed.set(runId, { run, state: run.state, items: new Map(), told: new Map() });
        run.changed.connect(this._onRun, this);
        this._onRun(run);
      }
    }
  }

  private _onFrame(_: IConnection, frame: AnyFrame): void {
    if (frame.type === 'approval_resolved') {
      this._followed.get(frame.runId)?.told.set(frame.approvalId, frame.decision);
    } else if (frame.type === 'input_received') {
      const ending = typeof frame.content === 'string' ? 'answered' : 'unanswered';
      this._followed.get(frame.runId)?.told.set(frame.requestId, ending);
    }
  }

  private _onRun(run: IRunModel): void {
    const followed = this._followed.get(run.runId);
    if (!followed) {
      return;
    }
    const { items, state } = followed;
    followed.state = run.state;
    const now = run.transcript && !isOver(run) ? waitingIn(run.transcript) : new Map<string, Waiting>();
    if (state !== run.state || [...now.keys()].join() !== [...items.keys()].join()) {
      this._end(followed, now);
      this._changed.emit();
    }
  }

  /** Takes what waits now, and tells what does no more. */
  private _end(followed: IFollowed, now: ReadonlyMap<string, Waiting>): void {
    const before = followed.items;
    followed.items = now;
    for (const [id, item] of before) {
      if (!now.has(id)) {
        this._ended.emit([item, followed.told.get(id) ?? endingOf(item, followed.run)]);
      }
    }
  }

  private readonly _runs: IRuns;
  private readonly _activity: IActivity;
  private readonly _followed = new Map<string, IFollowed>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, readonly [Waiting, Ending]>(this);
  private _isDisposed = false;
}

/** Under this name what waits is found by every module of a page, so that it is followed once. */
const PUBLISHED = Symbol.for('jupyter_agent.waiting');

export function publishWaiting(waiting: WaitingModel | null): void {
  (globalThis as Record<symbol, unknown>)[PUBLISHED] = waiting;
}

/** Returns what waits as another module of this page knows it, or null. */
export function foundWaiting(): Pick<WaitingModel, 'items' | 'isCurrent' | 'changed'> | null {
  const found = (globalThis as Record<symbol, unknown>)[PUBLISHED] as WaitingModel | null | undefined;
  return Array.isArray(found?.items) ? found : null;
}

function waitingIn({ approvals = [], inputs = [] }: CompactRun): Map<string, Waiting> {
  const items: Waiting[] = [
    ...approvals.map(({ approvalId: id, runId, toolCallId, toolName, effects }) => {
      return { kind: 'approval', id, runId, toolCallId, toolName, effects } as const;
    }),
    ...inputs.map(({ requestId: id, runId }) => ({ kind: 'input', id, runId }) as const)
  ];
  return new Map(items.map(item => [item.id, item]));
}

function isOver({ state, isDisposed }: IRunModel): boolean {
  return isDisposed || state === 'absent' || state === 'ended';
}

/** Returns how an item ended whose end came with a whole transcript. */
function endingOf(item: Waiting, run: IRunModel): Ending {
  if (isOver(run)) {
    return 'over';
  }
  if (item.kind === 'input') {
    return 'answered';
  }
  const calls = (run.transcript?.turns ?? []).flatMap(({ toolCalls = [] }) => toolCalls);
  return calls.findLast(({ toolCallId }) => toolCallId === item.toolCallId)?.decision ?? 'over';
}
