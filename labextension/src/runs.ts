/**
 * The runs that a page follows: each once, over one connection, however many views show it.
 *
 * A run is followed from its first share to the end of its last; then nothing of it is kept.
 */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { act, type Action } from './actions';
import { CommandFailed } from './connection';
import { FollowedRun, type IRunTimes, RUN_TIMES } from './followed';
import type { AnyFrame, CompactRun } from './protocol';
import type { ConnectionState, IConnection, IDecision, IGateway, IRunModel, IRuns, RunState } from './tokens';

interface IShared {
  readonly run: FollowedRun;
  readonly shares: Set<RunModel>;
}

export class Runs implements IRuns, IDisposable {
  constructor(
    readonly gateway: IGateway,
    times: Partial<IRunTimes> = {}
  ) {
    this._times = { ...RUN_TIMES, ...times };
    gateway.connection.received.connect(this._onFrame, this);
    gateway.connection.stateChanged.connect(this._onState, this);
  }

  open(runId: string): IRunModel {
    const shared = this._shared.get(runId) ?? this._start(runId);
    const share = new RunModel(this.gateway, shared.run, () => this._release(shared, share));
    shared.shares.add(share);
    return share;
  }

  /** How many runs are followed. */
  get size(): number {
    return this._shared.size;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      [...this._shared.values()].flatMap(({ shares }) => [...shares]).forEach(share => share.dispose());
      Signal.clearData(this);
    }
  }

  private _start(runId: string): IShared {
    const shares = new Set<RunModel>();
    const run = new FollowedRun(runId, this.gateway, this._times, () => [...shares].forEach(share => share.tell()));
    const shared = { run, shares };
    this._shared.set(runId, shared);
    return shared;
  }

  private _release({ run, shares }: IShared, share: RunModel): void {
    shares.delete(share);
    if (shares.size === 0) {
      this._shared.delete(run.runId);
      run.close();
    }
  }

  private _onFrame(_: IConnection, frame: AnyFrame): void {
    if (frame.type === 'failed') {
      [...this._shared.values()].forEach(({ run }) => run.onFrame(frame));
    } else if ('runId' in frame) {
      this._shared.get(frame.runId)?.run.onFrame(frame);
    }
  }

  private _onState(_: IConnection, __: ConnectionState): void {
    [...this._shared.values()].forEach(({ run }) => run.onState());
  }

  private readonly _times: IRunTimes;
  private readonly _shared = new Map<string, IShared>();
  private _isDisposed = false;
}

/** Returns a decision in the words of the wire: nothing that was not said. */
export function verdictOf({ approved, arguments: edited, reason, remember }: IDecision): IDecision {
  return {
    approved,
    ...(approved && edited !== undefined ? { arguments: edited } : {}),
    ...(reason ? { reason } : {}),
    ...(remember ? { remember } : {})
  };
}

/** One view's share of a followed run. */
class RunModel implements IRunModel {
  constructor(
    readonly gateway: IGateway,
    run: FollowedRun,
    private _release: () => void
  ) {
    this.runId = run.runId;
    this._run = run;
  }

  readonly runId: string;

  get state(): RunState {
    return this._run?.state ?? 'behind';
  }

  get fault(): string | null {
    return this._run ? this._run.fault : 'This view has let go of the run.';
  }

  get transcript(): CompactRun | null {
    return this._run?.transcript ?? null;
  }

  get revision(): number {
    return this._run?.revision ?? 0;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._run === null;
  }

  /** Tells who shows this share that something changed. */
  tell(): void {
    this._changed.emit();
  }

  dispose(): void {
    if (this._run) {
      this._run = null;
      this._release();
      this._release = () => undefined;
      Signal.clearData(this);
    }
  }

  async interrupt(): Promise<void> {
    await this._act({ type: 'interrupt', runId: this.runId });
  }

  async decide(approvalId: string, decision: IDecision): Promise<void> {
    this._checkMayDecide();
    const asked = this.transcript?.approvals?.find(one => one.approvalId === approvalId);
    if (!asked) {
      throw new CommandFailed('approval_not_found', 'This call does not wait for a decision any more.');
    }
    const verdict = verdictOf(decision);
    const { runId, toolCallId } = asked;
    await this._act({ type: 'tool_confirmation', runId, toolCallId, approvalId, ...verdict });
  }

  async answer(requestId: string, content: string): Promise<void> {
    this._checkMayDecide();
    if (!this.transcript?.inputs?.some(one => one.requestId === requestId)) {
      throw new CommandFailed('input_not_found', 'This question does not wait for an answer any more.');
    }
    await this._act({ type: 'user_input', runId: this.runId, requestId, content });
  }

  reconnect(): void {
    this._run?.reconnect();
  }

  private _checkMayDecide(): void {
    if (!this.gateway.mayDecide) {
      const where = 'in a browser page of the Jupyter server that runs the agent';
      throw new CommandFailed('forbidden', `Here this is only shown: answer it ${where}.`);
    }
  }

  private async _act(action: Action): Promise<void> {
    const run = this._run;
    if (!run || run.state === 'absent' || run.state === 'ended') {
      throw new CommandFailed('run_finished', run?.fault ?? 'The run is over.');
    }
    try {
      await act(action, this.gateway);
    } finally {
      if (this.gateway.connection.state !== 'open') {
        run.lookUp(); // nobody else would tell what came of it
      }
    }
  }

  private _run: FollowedRun | null;
  private readonly _changed = new Signal<this, void>(this);
}
