/**
 * One run as a page follows it: its transcript from the gateway, then every event after it, over the page's connection.
 *
 * Rules:
 * - No event gets in twice or out of order, whatever comes twice. Where the server took events back, the whole is
 *   asked for again.
 * - The state is told from what is known, never set: it cannot be wrong for long.
 * - What the gateway says may be anything: it changes the state, never throws.
 */

import type { IDisposable } from '@lumino/disposable';

import { type ILookupTimes, Lookup } from './lookup';
import type { AnyEvent, AnyFrame, CompactRun, ReplayComplete, RunStatus } from './protocol';
import { statusOf, words } from './request';
import type { IConnection, IGateway, RunState } from './tokens';
import { isOver, news, Transcript } from './transcript';

/** Times of a followed run, in milliseconds. */
export interface IRunTimes extends ILookupTimes {
  /** Between two tellings of changes. */
  readonly tell: number;
  /** How long the last event of a run may be behind its status. */
  readonly lastEvent: number;
  /** After how long without a connection the run is looked up by requests instead, and how often then. */
  readonly blocked: number;
  readonly poll: number;
}

export const RUN_TIMES: IRunTimes = {
  tell: 16,
  firstDelay: 1_000,
  longestDelay: 30_000,
  answer: 60_000,
  lastEvent: 5_000,
  blocked: 10_000,
  poll: 3_000
};

type Timer = ReturnType<typeof setTimeout>;

const RUN_ID = /^[A-Za-z0-9_-]{1,128}$/;

export class FollowedRun {
  /** `tell` is called after changes, not for each. */
  constructor(
    readonly runId: string,
    gateway: IGateway,
    private readonly _times: IRunTimes,
    private readonly _tell: () => void
  ) {
    this._connection = gateway.connection;
    this._lookup = new Lookup<CompactRun>(
      `runs/${runId}/transcript`,
      gateway,
      _times,
      run => this._load(run),
      fault => this._failed(fault)
    );
    if (RUN_ID.test(runId)) {
      void this._lookup.ask();
    } else {
      this._absence = 'This is not the id of a run.';
    }
  }

  get state(): RunState {
    if (this._absence !== null) {
      return 'absent';
    }
    if (this._refusal !== null) {
      return 'refused';
    }
    if (this._isOver) {
      return 'ended';
    }
    if (!this._transcript) {
      return this._trouble === null ? 'loading' : 'behind';
    }
    if (this._connection.state === 'refused') {
      return 'refused';
    }
    return this._connection.state === 'open' && this._isReplayed ? 'live' : 'behind';
  }

  get fault(): string | null {
    const said = this._absence ?? this._refusal;
    if (said !== null || this._isOver) {
      return said ?? this._breakage;
    }
    if (this._transcript && this._connection.state === 'refused') {
      return this._connection.reason ?? 'The gateway refused the connection.';
    }
    const distance = this._isPolling ? BLOCKED : this._isLost ? LOST : null;
    // A connection that knows why it is lost says it better.
    return (distance && this._connection.reason) ?? this._trouble ?? distance ?? this._breakage;
  }

  get transcript(): CompactRun | null {
    return this._transcript?.run ?? null;
  }

  get revision(): number {
    return this._revision;
  }

  /** Asks at once, where something was changed and the connection may not tell. */
  lookUp(): void {
    if (this._following) {
      this._lookup.helped();
      this._lookup.later(0);
    }
  }

  /** Starts over where the gateway refused, or does not answer. */
  reconnect(): void {
    if (this._isOver || !RUN_ID.test(this.runId)) {
      return;
    }
    this._absence = this._refusal = this._trouble = null;
    this._lookup.helped();
    if (this._connection.state !== 'open') {
      this._connection.connect();
    }
    void this._lookup.ask();
    this._changed();
  }

  /** Lets go of everything. */
  close(): void {
    this._isClosed = true;
    this._rest();
    clearTimeout(this._telling);
  }

  // --- what the connection tells ------------------------------------------------------------------------------------

  onState(): void {
    const { state } = this._connection;
    if (this._isOver) {
      return;
    }
    if (state === 'open') {
      this._reached();
    } else {
      this._isReplayed = false;
      this._isLost ||= state === 'waiting' || state === 'closed';
      this._isFresh &&= !this._isLost;
    }
    if (state === 'open' || state === 'refused') {
      this._unwatch();
    } else {
      this._watch();
    }
    this._changed();
  }

  private _reached(): void {
    this._isLost = false;
    if (this._trouble !== null) {
      this._lookup.helped();
      this._lookup.later();
    }
  }

  /** Takes a frame of this run, or one that concerns every run. */
  onFrame(frame: AnyFrame): void {
    if (frame.type === 'run_changed' && frame.change === 'deleted') {
      this._vanish('The run was deleted.');
    } else if (this._following) {
      this._onFollowed(frame);
    }
  }

  private _onFollowed(frame: AnyFrame): void {
    switch (frame.type) {
      case 'gap':
      case 'snapshot':
        // Where the gateway's own answer was just taken there is nothing better to be had.
        return this._isFresh ? undefined : this._startOver();
      case 'failed':
        // Where it answers no command a stream broke. It does not say which: it may be this one.
        return frame.clientId ? undefined : this._startOver();
      case 'replay_complete':
        return this._caughtUp(frame);
      default:
        return 'id' in frame ? this._take(frame) : undefined;
    }
  }

  private _take(event: AnyEvent): void {
    const transcript = this._transcript;
    const kind = transcript && news(event.id, transcript.run.lastEventId ?? '');
    if (!transcript || kind === 'known') {
      return;
    }
    if (kind === 'rewritten') {
      return this._startOver();
    }
    this._isFresh = false;
    try {
      transcript.apply(event);
    } catch (fault) {
      this._breakage = `An event of the run could not be understood, so something may be missing here. (${words(fault)})`;
    }
    if (transcript.run.isComplete) {
      this._rest();
    }
    this._revised();
  }

  private _caughtUp({ status }: ReplayComplete): void {
    this._isReplayed = true;
    this._isFresh = false;
    this._lookup.helped();
    if (isOver(status) && !this._isOver) {
      // A run that has ended sends its last event at once; one that has lost it is over without.
      clearTimeout(this._settling);
      this._settling = setTimeout(() => this._settle(status), this._times.lastEvent);
    }
    this._changed();
  }

  private _settle(status: RunStatus): void {
    this._transcript?.settle(status);
    this._isSettled = true;
    this._rest();
    this._revised();
  }

  // --- what the gateway answers -------------------------------------------------------------------------------------

  private _load(run: CompactRun): void {
    if (run?.runId !== this.runId) {
      throw new Error('The gateway answered with something else than this run.');
    }
    const loaded = new Transcript(run);
    const before = this._isWrong ? null : this._transcript;
    this._trouble = null;
    // An answer may be older than what came over the connection meanwhile.
    if (!before || news(run.lastEventId ?? '', before.run.lastEventId ?? '') !== 'known') {
      this._transcript = loaded;
      this._isWrong = false;
      this._breakage = null;
      this._isFresh = true;
      this._revision += 1;
    }
    if (this._isOver) {
      this._rest();
    } else {
      this._follow();
    }
    this._changed();
  }

  private _failed(fault: unknown): void {
    const status = statusOf(fault);
    if (status === 404) {
      return this._vanish(words(fault));
    }
    if (status === 401 || status === 403) {
      this._rest();
      this._refusal = words(fault);
    } else {
      const why = status !== null ? words(fault) : `The server did not answer. (${words(fault)})`;
      this._trouble = `${why} It is asked again by itself.`;
      this._lookup.later();
    }
    this._changed();
  }

  private _vanish(why: string): void {
    this._rest();
    this._absence = why;
    this._changed();
  }

  // --- following ----------------------------------------------------------------------------------------------------

  private _follow(): void {
    const lastEventId = this.transcript?.lastEventId;
    if (!this._following) {
      this._isReplayed = false;
      try {
        // Nothing is connected to for a run that this gateway does not know: here it is known.
        if (this._connection.state === 'closed') {
          this._connection.connect();
        }
        this._following = this._connection.follow({ runId: this.runId, ...(lastEventId ? { lastEventId } : {}) });
      } catch (fault) {
        this._trouble = words(fault);
        return this._lookup.later(this._times.poll);
      }
    }
    this._watch();
    if (this._isPolling) {
      this._lookup.helped();
      this._lookup.later(this._times.poll);
    }
  }

  /** What is here is not what the server has: asks for the whole and follows anew from there. */
  private _startOver(): void {
    this._isWrong = true;
    this._isReplayed = false;
    this._following?.dispose();
    this._following = null;
    clearTimeout(this._settling);
    this._lookup.later();
    this._changed();
  }

  /** Where the connection does not come the run is looked up by requests. */
  private _watch(): void {
    const { state } = this._connection;
    if (this._following && state !== 'open' && state !== 'refused') {
      this._blocked ??= setTimeout(() => {
        this._isPolling = true;
        void this._lookup.ask();
      }, this._times.blocked);
    }
  }

  private _unwatch(): void {
    this._isPolling = false;
    clearTimeout(this._blocked);
    this._blocked = undefined;
  }

  /** Nothing more is to come. */
  private _rest(): void {
    this._following?.dispose();
    this._following = null;
    this._lookup.stop();
    clearTimeout(this._settling);
    this._unwatch();
  }

  // --- telling ------------------------------------------------------------------------------------------------------

  private get _isOver(): boolean {
    return this._isSettled || (this._transcript?.run.isComplete ?? false);
  }

  private _revised(): void {
    this._revision += 1;
    this._changed();
  }

  private _changed(): void {
    if (!this._isClosed) {
      this._telling ??= setTimeout(() => {
        this._telling = undefined;
        this._tell();
      }, this._times.tell);
    }
  }

  private readonly _connection: IConnection;
  private readonly _lookup: Lookup<CompactRun>;
  private _transcript: Transcript | null = null;
  private _revision = 0;
  private _following: IDisposable | null = null;
  private _isReplayed = false;
  private _isSettled = false;
  private _isLost = false;
  private _isPolling = false;
  /** The transcript is the gateway's answer of just now: nothing came since, and no connection was lost. */
  private _isFresh = false;
  private _isWrong = false;
  private _isClosed = false;
  private _absence: string | null = null;
  private _refusal: string | null = null;
  private _trouble: string | null = null;
  private _breakage: string | null = null;
  private _telling: Timer | undefined;
  private _settling: Timer | undefined;
  private _blocked: Timer | undefined;
}

const LOST = 'The connection to the agent gateway is lost. It is tried again by itself.';

const BLOCKED =
  'Live updates do not come through to this page, so the run is looked up every few seconds. ' +
  'A proxy or the browser may block WebSockets.';
