/**
 * The gateway as a kernel tells of it: one run, over the comm of the widget that shows it.
 *
 * The kernel tells the whole run, then every event after it. Where a message is missing it is asked for the whole again,
 * and what comes before that is not used.
 */

import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { CommandFailed } from '../connection';
import type { Ack, AnyFrame, CompactRun, RunStatus } from '../protocol';
import { RequestFailed } from '../request';
import type { AnsweredCommand, ConnectionState, Following, IConnection, IGateway } from '../tokens';
import { isTerminal } from '../view/figures';
import { BUSY, GONE, type ILinkTimes, type ISaid, type IWidgetModel, KernelLink } from './link';

interface IReader {
  resolve(run: CompactRun): void;
  reject(fault: RequestFailed): void;
}

export class CommConnection implements IConnection {
  constructor(
    private readonly _link: KernelLink,
    private readonly _runId: string
  ) {
    _link.said.connect(this._onSaid, this);
    _link.changed.connect(this._onTrouble, this);
  }

  /** Whether this kernel may decide for a person. */
  mayDecide = false;

  get state(): ConnectionState {
    return this._state;
  }

  get reason(): string | null {
    return this._reason;
  }

  get stateChanged(): ISignal<this, ConnectionState> {
    return this._stateChanged;
  }

  get received(): ISignal<this, AnyFrame> {
    return this._received;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  connect(): void {
    this._link.askForAll();
  }

  /** Returns the run as the kernel knows it. Rejects with `RequestFailed` where it does not answer. */
  async transcript(): Promise<CompactRun> {
    if (this._run && this._isWhole) {
      return this._run;
    }
    if (this._link.isGone) {
      throw new RequestFailed(503, 'kernel_gone', GONE);
    }
    if (this._state === 'refused') {
      throw new RequestFailed(403, 'refused', this._reason ?? '');
    }
    this._link.askForAll();
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this._readers.delete(reader);
      };
      const reader: IReader = {
        resolve: run => (end(), resolve(run)),
        reject: fault => (end(), reject(fault))
      };
      const late = new RequestFailed(503, 'kernel_busy', BUSY);
      const timer = setTimeout(() => reader.reject(late), this._link.times.answer);
      this._readers.add(reader);
    });
  }

  follow({ runId, lastEventId }: Following): IDisposable {
    const following = (this._following = {});
    // Whoever follows listens from the next moment on.
    queueMicrotask(() => {
      if (this._following !== following || !this._run) {
        return;
      }
      if (runId !== this._runId || !this._isWhole || (lastEventId ?? '') !== this._lastEventId) {
        return this._breakStream();
      }
      this._deliver();
      this._caughtUp();
    });
    return new DisposableDelegate(() => {
      if (this._following === following) {
        this._following = null;
      }
    });
  }

  async send(command: AnsweredCommand): Promise<Ack> {
    const [result] = await this._link.ask({ ask: 'command', command });
    return { type: 'ack', clientId: command.clientId ?? '', result };
  }

  /** Keeps nothing of the run: it is told anew where somebody asks for it. */
  forget(): void {
    this._run = null;
    this._isWhole = this._isBroken = false;
    this._pending = [];
    this._lastEventId = '';
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._link.dispose();
      this.forget();
      this._rejectReaders();
      this._enter('closed', null);
      Signal.clearData(this);
    }
  }

  private _onSaid(_: KernelLink, said: ISaid): void {
    if (said.type === 'run') {
      this._takeRun(said);
    } else if (said.type !== 'frames' && said.type !== 'tick') {
      return;
    } else if (!said.isNext || !this._run) {
      this._isWhole = false;
      this._isBroken = this._run !== null;
      this._link.askForAll();
    } else if (said.type === 'frames' && !this._isBroken) {
      this._takeFrames(said.text ?? '');
    }
    this._takeLink(said);
  }

  private _takeRun({ text = '', mayDecide }: ISaid): void {
    const run = parse<CompactRun>(text);
    if (run?.runId !== this._runId) {
      return;
    }
    const { lastEventId = '', status } = run;
    const isNews = this._isBroken || lastEventId !== this._lastEventId || status !== this._status;
    this.mayDecide = mayDecide === true;
    this._run = run;
    this._isWhole = true;
    this._isBroken = false;
    this._pending = [];
    this._lastEventId = lastEventId;
    this._setStatus(status);
    this._readers.forEach(reader => reader.resolve(run));
    if (isNews && this._following) {
      this._breakStream();
    }
  }

  private _takeFrames(lines: string): void {
    const frames = lines.split('\n').map(line => parse<AnyFrame>(line));
    this._pending.push(...frames.filter(frame => frame !== null));
    if (this._following) {
      this._deliver();
    }
  }

  /** Hands on what has come since the whole run, which is then not all any more. */
  private _deliver(): void {
    for (const frame of this._pending.splice(0)) {
      this._isWhole = false;
      this._lastEventId = 'id' in frame ? frame.id : this._lastEventId;
      if (frame.type === 'status_change' || frame.type === 'session_complete') {
        this._setStatus(frame.status);
      }
      this._received.emit(frame);
    }
  }

  /** All that the kernel has told is handed on. */
  private _caughtUp(): void {
    const { _runId: runId, _status: status, _lastEventId: lastEventId } = this;
    this._received.emit({ type: 'replay_complete', runId, status, lastEventId });
  }

  /** Has whoever follows ask for the whole run again. */
  private _breakStream(): void {
    const message = 'Something of the run did not come through the kernel.';
    this._received.emit({ type: 'failed', code: 'gap', message });
  }

  private _setStatus(status: RunStatus): void {
    this._status = status;
    if (isTerminal(status)) {
      this._link.expectNothing();
    }
  }

  private _takeLink({ link, fault }: ISaid): void {
    if (fault) {
      this._enter('refused', fault);
      this._rejectReaders();
    } else {
      this._enter(link === 'connected' || link === 'idle' ? 'open' : 'waiting', null);
    }
  }

  private _onTrouble(): void {
    const { trouble, isGone } = this._link;
    if (trouble !== null) {
      this._enter('waiting', trouble);
    }
    if (isGone) {
      this._rejectReaders();
    }
  }

  private _rejectReaders(): void {
    const why = this._reason ?? GONE;
    this._readers.forEach(reader => reader.reject(new RequestFailed(503, 'kernel_gone', why)));
  }

  private _enter(state: ConnectionState, reason: string | null): void {
    if (state !== this._state || reason !== this._reason) {
      this._state = state;
      this._reason = reason;
      this._stateChanged.emit(state);
      if (state === 'open' && this._following && !this._isBroken) {
        this._caughtUp();
      }
    }
  }

  private readonly _stateChanged = new Signal<this, ConnectionState>(this);
  private readonly _received = new Signal<this, AnyFrame>(this);
  private readonly _readers = new Set<IReader>();
  private _state: ConnectionState = 'connecting';
  private _reason: string | null = null;
  /** The run as the kernel told it last as a whole. */
  private _run: CompactRun | null = null;
  /** Nothing was handed on since: the whole run, and what is pending, is all there is. */
  private _isWhole = false;
  /** A message is missing: what comes is not used before the whole run has come. */
  private _isBroken = false;
  private _pending: AnyFrame[] = [];
  private _lastEventId = '';
  private _status: RunStatus = 'pending';
  private _following: object | null = null;
  private _isDisposed = false;
}

export class CommGateway implements IGateway {
  constructor(model: IWidgetModel, runId: string, times: Partial<ILinkTimes> = {}) {
    this._runId = runId;
    this.link = new KernelLink(model, times);
    this.connection = new CommConnection(this.link, runId);
  }

  readonly link: KernelLink;
  readonly connection: CommConnection;
  readonly teller = 'kernel';

  get mayDecide(): boolean {
    return this.connection.mayDecide;
  }

  /** A kernel does not tell the time. */
  get now(): number {
    return Date.now();
  }

  /** Nobody looks: nothing is heard, and nothing kept. */
  pause(): void {
    this.link.pause();
    this.connection.forget();
  }

  /** Somebody looks again. */
  resume(): void {
    this.link.resume();
  }

  /** Only of this run: its transcript, and to stop it where the kernel has lost its own connection. */
  async request<T>(path: string): Promise<T> {
    switch (path) {
      case `runs/${this._runId}/transcript`:
        return (await this.connection.transcript()) as T;
      case `runs/${this._runId}/interrupt`:
        return (await this._interrupt()) as T;
      default:
        throw new RequestFailed(501, 'not_here', 'This cannot be had through the kernel: open the run in JupyterLab.');
    }
  }

  private async _interrupt(): Promise<unknown> {
    try {
      return (await this.connection.send({ type: 'interrupt', runId: this._runId })).result;
    } catch (fault) {
      throw fault instanceof CommandFailed ? new RequestFailed(503, fault.code, fault.message) : fault;
    }
  }

  async blob(digest: string): Promise<Blob> {
    const [, [data]] = await this.link.ask({ ask: 'blob', digest });
    if (!data) {
      throw new RequestFailed(502, 'empty', 'The kernel answered without the data.');
    }
    return new Blob([new Uint8Array(data.buffer, data.byteOffset, data.byteLength) as Uint8Array<ArrayBuffer>]);
  }

  private readonly _runId: string;
}

function parse<T>(text: string): T | null {
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}
