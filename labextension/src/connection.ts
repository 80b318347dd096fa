/**
 * The connection to the gateway: one socket, authenticated, kept alive by heartbeats, opened again when it is lost.
 *
 * Rules:
 * - The cursor of a followed run is the id of the last event that came of it. Only events move it.
 * - A lost socket is not waited for: what it may still say is not heard.
 * - Only a refusal ends the attempts. Their delays are 1, 2, 4 … 30 s, each times a random number below 1.
 */

import { UUID } from '@lumino/coreutils';
import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { type Ack, type AnyCommand, type AnyFrame, type Failed, isControl, isEvent } from './protocol';
import type { AnsweredCommand, ConnectionState, Following, IConnection } from './tokens';

/** Times of the wire, in milliseconds. */
export interface ITimes {
  /** From opening the socket to `auth_success`. */
  readonly auth: number;
  /** Between heartbeats. */
  readonly heartbeat: number;
  /** From a heartbeat to its acknowledgement. */
  readonly ack: number;
  /** From a command to its answer, also where the connection has to be opened first. */
  readonly answer: number;
  /** The first delay before another attempt; it doubles with every attempt. */
  readonly firstDelay: number;
  readonly longestDelay: number;
}

export const TIMES: ITimes = {
  auth: 15_000,
  heartbeat: 30_000,
  ack: 10_000,
  answer: 6_000,
  firstDelay: 1_000,
  longestDelay: 30_000
};

export interface IConnectionOptions {
  /** The gateway's WebSocket address. */
  readonly url: string;
  /** The token to authenticate with, asked for at each attempt; empty where the page's cookie counts. */
  readonly token: () => string;
  readonly times?: Partial<ITimes>;
  /** How often to try again in a row; 0 is for ever. */
  readonly attempts?: number;
  readonly WebSocket?: typeof WebSocket;
  /** A number from 0 to below 1. */
  readonly random?: () => number;
}

/** The gateway refused a command, or the connection ended before the answer. */
export class CommandFailed extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {}
  ) {
    super(message);
    this.name = 'CommandFailed';
  }
}

interface IUnanswered {
  readonly command: AnsweredCommand;
  readonly deadline: ReturnType<typeof setTimeout>;
  readonly resolve: (ack: Ack) => void;
  readonly reject: (fault: CommandFailed) => void;
}

/** A missing heartbeat acknowledgement closes with this code. */
const NO_ACK = 4000;

/** Close codes after which another attempt would end the same way, and what to do then. */
const FINAL_CODES: ReadonlyMap<number, string> = new Map([
  [4400, 'The gateway could not read what this page sent. Reload the page.'],
  [4401, 'The gateway does not know any more who you are. Reload the page, and sign in again if it asks.'],
  [4403, 'You may not use the agent gateway of this server. Ask whoever runs the server.']
]);

export class Connection implements IConnection {
  constructor(options: IConnectionOptions) {
    this._options = options;
    this._times = { ...TIMES, ...options.times };
  }

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
    if (this._isDisposed || this._socket) {
      return;
    }
    clearTimeout(this._retry);
    this._failures = 0;
    this._attempt();
  }

  follow(following: Following): IDisposable {
    const { runId } = following;
    if (this._followed.has(runId)) {
      throw new Error(`Run ${runId} is followed over this connection already: share the model that follows it.`);
    }
    this._followed.set(runId, following);
    if (this._state === 'open') {
      this._write({ type: 'follow', ...following });
    }
    return new DisposableDelegate(() => {
      this._followed.delete(runId);
      if (this._state === 'open') {
        this._write({ type: 'unfollow', runId });
      }
    });
  }

  send(command: AnsweredCommand): Promise<Ack> {
    if (this._isDisposed || this._state === 'refused') {
      return Promise.reject(this._ended());
    }
    const clientId = command.clientId ?? UUID.uuid4();
    const named = { ...command, clientId };
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this._answered(clientId)?.reject(this._late()), this._times.answer);
      this._unanswered.set(clientId, { command: named, deadline, resolve, reject });
      if (this._state === 'open') {
        this._write(named);
      }
    });
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._drop(1000);
    clearTimeout(this._retry);
    this._rejectUnanswered();
    this._followed.clear();
    this._enter('closed');
    Signal.clearData(this);
  }

  private _attempt(): void {
    const socket = this._makeSocket();
    if (!socket) {
      return this._lost(NO_ACK);
    }
    this._socket = socket;
    socket.onopen = () => {
      this._enter('authenticating');
      this._write({ type: 'auth', token: this._options.token() });
    };
    socket.onmessage = message => this._hear(message.data);
    socket.onclose = event => this._lost(event.code, event.reason);
    // An error is always followed by a close.
    socket.onerror = () => undefined;
    this._deadline = setTimeout(() => this._lost(NO_ACK), this._times.auth);
    this._enter('connecting');
  }

  /** Returns a socket that is being opened, or null where the page may not have any. */
  private _makeSocket(): WebSocket | null {
    try {
      return new (this._options.WebSocket ?? WebSocket)(this._options.url);
    } catch {
      return null;
    }
  }

  /** Takes one frame. What this version does not know is ignored. */
  private _hear(data: unknown): void {
    const frame: unknown = typeof data === 'string' ? parse(data) : null;
    this._moveCursor(frame);
    if (isEvent(frame)) {
      this._received.emit(frame);
    } else if (isControl(frame)) {
      switch (frame.type) {
        case 'auth_success':
          return this._state === 'open' ? undefined : this._opened();
        case 'auth_failed':
          return this._refused(frame.reason);
        case 'heartbeat_ack':
          return this._inTime();
        case 'ack':
          this._answered(frame.clientId)?.resolve(frame);
          return;
        case 'failed':
          this._failed(frame);
          return;
        default:
          this._received.emit(frame);
      }
    }
  }

  /** Events of types that this version does not know move the cursor too. */
  private _moveCursor(frame: unknown): void {
    const { id, runId } = (frame ?? {}) as Partial<Record<'id' | 'runId', unknown>>;
    const following = typeof id === 'string' && typeof runId === 'string' ? this._followed.get(runId) : undefined;
    if (following) {
      this._followed.set(following.runId, { ...following, lastEventId: id as string });
    }
  }

  private _opened(): void {
    this._inTime();
    this._failures = 0;
    this._reason = null;
    this._heartbeat = setInterval(() => this._beat(), this._times.heartbeat);
    for (const following of this._followed.values()) {
      this._write({ type: 'follow', ...following });
    }
    for (const { command } of this._unanswered.values()) {
      this._write(command);
    }
    this._enter('open');
  }

  private _beat(): void {
    this._write({ type: 'heartbeat' });
    this._deadline ??= setTimeout(() => this._lost(NO_ACK), this._times.ack);
  }

  /** What was waited for has come. */
  private _inTime(): void {
    clearTimeout(this._deadline);
    this._deadline = undefined;
  }

  private _failed(frame: Failed): void {
    const unanswered = frame.clientId ? this._answered(frame.clientId) : undefined;
    if (unanswered) {
      unanswered.reject(new CommandFailed(frame.code, frame.message, frame.details));
    } else {
      this._received.emit(frame);
    }
  }

  private _answered(clientId: string): IUnanswered | undefined {
    const unanswered = this._unanswered.get(clientId);
    this._unanswered.delete(clientId);
    clearTimeout(unanswered?.deadline);
    return unanswered;
  }

  private _refused(reason: string): void {
    this._drop(1000);
    this._reason = reason;
    this._rejectUnanswered();
    this._enter('refused');
  }

  /** The socket is of no more use: try again, unless that would end the same way. */
  private _lost(code: number, said = ''): void {
    this._drop(NO_ACK);
    const { attempts = 0, random = Math.random } = this._options;
    const final = FINAL_CODES.get(code);
    if (final) {
      return this._refused(said || final);
    }
    if (attempts > 0 && this._failures >= attempts) {
      return this._refused(`The gateway could not be reached in ${attempts} attempts.`);
    }
    const most = Math.min(this._times.longestDelay, this._times.firstDelay * 2 ** this._failures);
    this._failures += 1;
    this._retry = setTimeout(() => this._attempt(), most * random());
    this._enter('waiting');
  }

  /** Lets go of the socket without hearing the rest of it. */
  private _drop(code: number): void {
    this._inTime();
    clearInterval(this._heartbeat);
    const socket = this._socket;
    this._socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
  }

  private _rejectUnanswered(): void {
    for (const clientId of [...this._unanswered.keys()]) {
      this._answered(clientId)?.reject(this._ended());
    }
  }

  private _late(): CommandFailed {
    return new CommandFailed('not_answered', `The gateway did not answer for ${this._times.answer / 1000} s.`);
  }

  private _ended(): CommandFailed {
    return new CommandFailed(
      'not_connected',
      this._isDisposed ? 'The connection was closed.' : `The connection was refused: ${this._reason}`
    );
  }

  private _write(command: AnyCommand): void {
    this._socket?.send(JSON.stringify(command));
  }

  private _enter(state: ConnectionState): void {
    if (state !== this._state) {
      this._state = state;
      this._stateChanged.emit(state);
    }
  }

  private readonly _options: IConnectionOptions;
  private readonly _times: ITimes;
  private readonly _followed = new Map<string, Following>();
  private readonly _unanswered = new Map<string, IUnanswered>();
  private readonly _stateChanged = new Signal<this, ConnectionState>(this);
  private readonly _received = new Signal<this, AnyFrame>(this);
  private _state: ConnectionState = 'closed';
  private _reason: string | null = null;
  private _socket: WebSocket | null = null;
  private _failures = 0;
  private _isDisposed = false;
  private _deadline: ReturnType<typeof setTimeout> | undefined;
  private _heartbeat: ReturnType<typeof setInterval> | undefined;
  private _retry: ReturnType<typeof setTimeout> | undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
