/** What other plugins may ask of this extension. */

import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { Ack, AnyCommand, AnyFrame, CompactRun, Follow, RunStatus } from './protocol';

/**
 * Where a connection stands.
 *
 * `refused` is final until `connect` is called again: the gateway said why in `reason`, and asking again would not help.
 */
export type ConnectionState = 'connecting' | 'authenticating' | 'open' | 'waiting' | 'refused' | 'closed';

/** A command that is answered with `ack` or `failed`. */
export type AnsweredCommand = Exclude<AnyCommand, { type: 'auth' | 'heartbeat' | 'resume' | 'follow' | 'unfollow' }>;

/** What is to be followed: a run from after an event, or `*` for the changes of all one's runs and threads. */
export type Following = Omit<Follow, 'type' | 'clientId'>;

/** One socket to the gateway, over which any number of runs are followed. It reconnects by itself. */
export interface IConnection extends IDisposable {
  readonly state: ConnectionState;

  /** Why the gateway refused, or why the connection is lost where that is known; else null. */
  readonly reason: string | null;

  readonly stateChanged: ISignal<IConnection, ConnectionState>;

  /** Every frame but those of the connection's own life, in the order in which they came. */
  readonly received: ISignal<IConnection, AnyFrame>;

  connect(): void;

  /**
   * Follows a run until the returned object is disposed. After a lost connection the stream goes on after the last event
   * that came. A run is followed once a connection: views of it share a model. Throws for one that is followed already.
   */
  follow(following: Following): IDisposable;

  /**
   * Sends a command, now or as soon as the connection is open; it acts once even if it must be sent again.
   * Rejects with `CommandFailed` when the gateway says `failed`, with the code `not_connected` when the connection is
   * refused or disposed first, and with `not_answered` when no answer comes in time: it may have been carried out then.
   */
  send(command: AnsweredCommand): Promise<Ack>;
}

/** The connection of this page to the gateway of its server. */
export const IConnection = new Token<IConnection>(
  'jupyter-agent:IConnection',
  'The connection to the agent gateway: follow runs and send commands over one socket.'
);

/** One's own runs that are not over. */
export interface IActivity extends IDisposable {
  /** Whether this is what the gateway says now. */
  readonly isCurrent: boolean;

  /** Why the runs are not known, or null. */
  readonly fault: string | null;

  /** The status of every run that is not over, by the run's id. */
  readonly active: ReadonlyMap<string, RunStatus>;

  /** How many runs are working. */
  readonly running: number;

  /** How many runs wait for a person. */
  readonly waiting: number;

  readonly changed: ISignal<IActivity, void>;
}

/** The activity of one's runs, shared by whoever shows it. */
export const IActivity = new Token<IActivity>(
  'jupyter-agent:IActivity',
  "One's own agent runs that are not over: which there are, which work and which wait for a person."
);

/** What a view may ask for text in the reader's language; a `TranslationBundle` is one. */
export interface IWords {
  /** `%1`, `%2` … stand for the values. */
  __(text: string, ...values: unknown[]): string;
  /** `%1` stands for the count as it is, `%2` … for the values: a count of many figures is given as one of them. */
  _n(singular: string, plural: string, count: number, ...values: unknown[]): string;
}

/** The gateway as views see it: the socket of their page, or the comm of their kernel where there is no such page. */
export interface IGateway {
  readonly connection: IConnection;

  /** Who says what is shown. */
  readonly teller: 'gateway' | 'kernel';

  /** False over the comm of a kernel that may not: what waits is shown there and answered elsewhere. */
  readonly mayDecide: boolean;

  /** The server's time in milliseconds since 1970, as far as it is known: a page's own clock may be wrong. */
  readonly now: number;

  /** Returns the JSON body of an answer under `jupyter-agent/api`. Throws `RequestFailed`, or what the network said. */
  request<T>(
    path: string,
    init?: RequestInit & { readonly query?: Readonly<Record<string, string | number>> }
  ): Promise<T>;

  /** Returns the bytes of a blob, without a type that a browser would act on. Throws like `request`. */
  blob(digest: string): Promise<Blob>;
}

/**
 * Where a followed run stands with us.
 *
 * `loading`: the first answer is on its way. `live`: what is shown is what the gateway says. `behind`: the connection is
 * lost or not yet caught up. `ended`: the run is over and all of it is here. `absent`: the gateway does not know the run.
 * `refused`: it does not want to talk to us; `fault` says why.
 */
export type RunState = 'loading' | 'live' | 'behind' | 'ended' | 'absent' | 'refused';

/** A decision on a tool call that waits. */
export interface IDecision {
  readonly approved: boolean;
  /** JSON text that replaces the arguments. */
  readonly arguments?: string;
  readonly reason?: string;
  readonly remember?: 'run' | 'thread';
}

/** One run, followed. Everybody in a page who shows the run shares one model; disposing it lets go of one's share. */
export interface IRunModel extends IDisposable {
  readonly runId: string;
  readonly state: RunState;

  /** Why the run cannot be shown or brought up to date, as a sentence; null when all is well. */
  readonly fault: string | null;

  /** The run as far as it is known; replaced as a whole only after a gap, else grown in place. Null before there is any. */
  readonly transcript: CompactRun | null;

  /** Grows with every change of the transcript. */
  readonly revision: number;

  /** At most once an animation frame, and not for every event. */
  readonly changed: ISignal<IRunModel, void>;

  readonly gateway: IGateway;

  /** Each rejects with `CommandFailed` when the gateway refuses. */
  interrupt(): Promise<void>;
  decide(approvalId: string, decision: IDecision): Promise<void>;
  answer(requestId: string, content: string): Promise<void>;

  /** Tries again after `refused`. */
  reconnect(): void;
}

/** The runs that this page follows. */
export interface IRuns {
  readonly gateway: IGateway;

  /** Returns a share of the run's model, following it from now on. */
  open(runId: string): IRunModel;
}

/** The runs of this page's own gateway. */
export const IRuns = new Token<IRuns>(
  'jupyter-agent:IRuns',
  'Agent runs of this server, followed live: every view of a run shares one model and one connection.'
);
