/** Which of one's runs are not over, made from what the gateway tells: frames in, signals out, no DOM. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { AnyFrame, Run, RunStatus } from './protocol';
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
