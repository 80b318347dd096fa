/** What the views show, made from what the gateway says: events in, signals out, no DOM. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { AnyFrame, Decision, Effect, Run, RunStatus } from './protocol';
import type { ConnectionState, IActivity, IConnection } from './tokens';

/** Statuses of runs that are not over, in the order of the protocol. */
export const ACTIVE: ReadonlyArray<RunStatus> = ['pending', 'running', 'waiting_confirmation', 'waiting_input'];

/** Statuses of runs that wait for a person. */
export const WAITING: ReadonlyArray<RunStatus> = ['waiting_confirmation', 'waiting_input'];

/** Returns one's own runs that have this status. */
export type ListRuns = (status: RunStatus) => Promise<ReadonlyArray<Run>>;

/**
 * How many of one's runs are working, and how many wait for a person.
 *
 * Whenever the connection opens the active runs are listed, and from then on every change is told. What is told while the
 * list is on its way is newer than the list.
 */
export class ActivityModel implements IActivity {
  constructor(connection: IConnection, listRuns: ListRuns) {
    this._connection = connection;
    this._listRuns = listRuns;
    this._following = connection.follow({ runId: '*' });
    connection.stateChanged.connect(this._onState, this);
    connection.received.connect(this._onFrame, this);
    this._onState(connection, connection.state);
  }

  get isCurrent(): boolean {
    return this._connection.state === 'open' && this._told === null && this._fault === null;
  }

  get fault(): string | null {
    return this._fault ?? this._connection.reason;
  }

  get active(): ReadonlyMap<string, RunStatus> {
    return this._active;
  }

  get running(): number {
    return this._count('running');
  }

  get waiting(): number {
    return this._count(...WAITING);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._following.dispose();
      Signal.clearData(this);
    }
  }

  private _onState(_: IConnection, state: ConnectionState): void {
    if (state === 'open') {
      void this._list();
    }
    this._changed.emit();
  }

  private _onFrame(_: IConnection, frame: AnyFrame): void {
    if (frame.type === 'run_changed') {
      this._set(frame.runId, frame.change === 'deleted' ? 'interrupted' : frame.status);
      this._told?.add(frame.runId);
      this._changed.emit();
    }
  }

  private async _list(): Promise<void> {
    const told = (this._told = new Set<string>());
    try {
      const runs = (await Promise.all(ACTIVE.map(status => this._listRuns(status)))).flat();
      if (this._told !== told) {
        return; // the connection was opened again: a newer list is on its way
      }
      const listed = new Map(runs.map(run => [run.runId, run.status]));
      for (const runId of [...this._active.keys(), ...listed.keys()]) {
        if (!told.has(runId)) {
          this._set(runId, listed.get(runId));
        }
      }
      this._fault = null;
    } catch (fault) {
      if (this._told !== told) {
        return;
      }
      this._fault = fault instanceof Error ? fault.message : String(fault);
    }
    this._told = null;
    this._changed.emit();
  }

  private _set(runId: string, status: RunStatus | undefined): void {
    if (status && ACTIVE.includes(status)) {
      this._active.set(runId, status);
    } else {
      this._active.delete(runId);
    }
  }

  private _count(...statuses: RunStatus[]): number {
    return [...this._active.values()].filter(status => statuses.includes(status)).length;
  }

  private readonly _connection: IConnection;
  private readonly _listRuns: ListRuns;
  private readonly _following: IDisposable;
  private readonly _active = new Map<string, RunStatus>();
  private readonly _changed = new Signal<this, void>(this);
  private _told: Set<string> | null = null;
  private _fault: string | null = null;
  private _isDisposed = false;
}

/** What waits for a person: a tool call for an approval, or a question for an answer. */
export type Waiting =
  | {
      readonly kind: 'approval';
      readonly id: string;
      readonly runId: string;
      readonly toolName: string;
      readonly effects: ReadonlyArray<Effect>;
    }
  | { readonly kind: 'input'; readonly id: string; readonly runId: string };

/** How something stopped waiting: by a decision, an answer, for want of one, or because its run is over. */
export type Ending = Decision | 'answered' | 'unanswered' | 'over';

interface IFollowed {
  readonly following: IDisposable;
  readonly items: Map<string, Waiting>;
  /** Before, what was decided long ago looks as if it waited. */
  isReplayed: boolean;
}

/** Everything that waits for a person in any of one's runs. A run is followed from its first wait to its end. */
export class WaitingModel implements IDisposable {
  constructor(connection: IConnection, activity: IActivity) {
    this._connection = connection;
    this._activity = activity;
    activity.changed.connect(this._onActivity, this);
    connection.received.connect(this._onFrame, this);
    this._onActivity();
  }

  /** What waits, in the order in which each run asked. */
  get items(): ReadonlyArray<Waiting> {
    const replayed = [...this._followed.values()].filter(run => run.isReplayed);
    return replayed.flatMap(({ items }) => [...items.values()]);
  }

  /** Whether everything is known that waits. */
  get isCurrent(): boolean {
    return this._activity.isCurrent && [...this._followed.values()].every(run => run.isReplayed);
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
      this._followed.forEach(({ following }) => following.dispose());
      Signal.clearData(this);
    }
  }

  private _onActivity(): void {
    if (!this._activity.isCurrent) {
      return; // what is known may still wait
    }
    const { active } = this._activity;
    for (const [runId, run] of [...this._followed]) {
      if (!active.has(runId)) {
        run.following.dispose();
        this._followed.delete(runId);
        run.items.forEach(item => this._ended.emit([item, 'over']));
        this._changed.emit();
      }
    }
    for (const [runId, status] of active) {
      if (WAITING.includes(status) && !this._followed.has(runId)) {
        const following = this._connection.follow({ runId, channels: ['status'] });
        this._followed.set(runId, { following, items: new Map(), isReplayed: false });
      }
    }
  }

  private _onFrame(_: IConnection, frame: AnyFrame): void {
    const run = 'runId' in frame && frame.runId ? this._followed.get(frame.runId) : undefined;
    if (!run) {
      return;
    }
    switch (frame.type) {
      case 'tool_confirmation_request': {
        const { approvalId: id, runId, tool, effects = [] } = frame;
        run.items.set(id, { kind: 'approval', id, runId, toolName: tool.name, effects });
        break;
      }
      case 'input_request':
        run.items.set(frame.requestId, { kind: 'input', id: frame.requestId, runId: frame.runId });
        break;
      case 'approval_resolved':
        this._end(run, frame.approvalId, frame.decision);
        break;
      case 'input_received':
        this._end(run, frame.requestId, typeof frame.content === 'string' ? 'answered' : 'unanswered');
        break;
      case 'gap':
        run.isReplayed = false; // it comes again from its first event
        break;
      case 'replay_complete':
        run.isReplayed = true;
        break;
      default:
        return;
    }
    this._changed.emit();
  }

  private _end(run: IFollowed, id: string, ending: Ending): void {
    const item = run.items.get(id);
    if (item && run.items.delete(id) && run.isReplayed) {
      this._ended.emit([item, ending]);
    }
  }

  private readonly _connection: IConnection;
  private readonly _activity: IActivity;
  private readonly _followed = new Map<string, IFollowed>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ended = new Signal<this, readonly [Waiting, Ending]>(this);
  private _isDisposed = false;
}
