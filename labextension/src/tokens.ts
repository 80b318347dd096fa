/** What other plugins may ask of this extension. */

import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { Ack, AnyCommand, AnyFrame, Follow, RunStatus } from './protocol';

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

  /** Why the gateway refused, or null. */
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
   * Rejects with `CommandFailed` when the gateway says `failed`, and when the connection is refused or disposed first.
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
