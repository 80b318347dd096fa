/** A peer that keeps journals of runs and tells of them as the gateway does: by request, and to whoever follows. */

import WebSocket from 'ws';

import { Connection, type ITimes } from '../connection';
import { PageGateway } from '../gateway';
import type { AnyCommand, AnyEvent, CompactRun } from '../protocol';
import { Transcript } from '../transcript';
import { event, Peer, type Socket, welcome } from './peer';

export const QUICK = { auth: 2_000, heartbeat: 60_000, ack: 2_000, firstDelay: 1, longestDelay: 8 };

/** What the gateway would answer for the transcript of a run with these events. */
export function transcriptOf(runId: string, events: ReadonlyArray<object>): CompactRun {
  const transcript = new Transcript({ runId, status: 'pending' });
  events.forEach(one => transcript.apply(one as AnyEvent));
  return transcript.run;
}

export class Journals {
  private constructor(readonly peer: Peer) {
    peer.onCommand = (socket, command) => this.onCommand(socket, command);
    peer.onRequest = (path, _query, sent) => this.onRequest(path, sent);
  }

  static async start(): Promise<Journals> {
    return new Journals(await Peer.start());
  }

  /** The page's side: the same fetch and sockets as a browser's, over real connections. */
  page(socket: unknown = WebSocket, times: Partial<ITimes> = {}): PageGateway {
    const { url } = this.peer;
    const wsUrl = url.replace('http', 'ws');
    const server = { baseUrl: url, wsUrl, token: () => 'secret', WebSocket: socket as typeof globalThis.WebSocket };
    const connection = new Connection({ ...server, url: `${wsUrl}jupyter-agent/ws`, times: { ...QUICK, ...times } });
    return new PageGateway(server, connection);
  }

  readonly runs = new Map<string, AnyEvent[]>();
  readonly commands: AnyCommand[] = [];
  readonly posted: (readonly [string, unknown])[] = [];

  /** How each command that decides something is answered, if at all. */
  verdict: object | null = { type: 'ack' };

  /** In place of the transcript: a status and a body. */
  refusal: readonly [number, unknown] | null = null;

  /** Adds events of these fields to a run's journal and tells its followers. */
  append(runId: string, ...fields: object[]): void {
    for (const one of fields) {
      const events = this.runs.get(runId) ?? [];
      this.write(runId, event(runId, events.length + 1, one) as AnyEvent);
    }
  }

  /** Adds an event as it is. */
  write(runId: string, one: AnyEvent): void {
    this.runs.set(runId, [...(this.runs.get(runId) ?? []), one]);
    this._followers(runId).forEach(socket => socket.say(one));
  }

  /** The server is killed and forgets all after the first events; what comes now has the next epoch. */
  lose(runId: string, kept: number, ...fields: object[]): void {
    const events = (this.runs.get(runId) ?? []).slice(0, kept);
    const written = fields.map((one, index) => {
      const made = event(runId, kept + index + 1, one) as AnyEvent;
      return { ...made, id: made.id.replace('-1-', '-2-') };
    });
    this.runs.set(runId, [...events, ...written]);
  }

  /** How often a run's transcript was asked for. */
  asked(runId: string): number {
    return this.peer.requests.filter(path => path.includes(`runs/${runId}/transcript`)).length;
  }

  /** The commands of this type so far. */
  said(type: AnyCommand['type']): AnyCommand[] {
    return this.commands.filter(command => command.type === type);
  }

  onCommand(socket: Socket, command: AnyCommand): void {
    welcome(socket, command);
    this.commands.push(command);
    if (command.type === 'follow' && command.runId !== '*') {
      this._replay(socket, command.runId, command.lastEventId ?? null);
    } else if (command.type === 'unfollow') {
      this._following.get(socket)?.delete(command.runId);
    } else if ('clientId' in command && this.verdict) {
      socket.say({ ...this.verdict, clientId: command.clientId });
    }
  }

  onRequest(path: string, sent: unknown): readonly [number, unknown] {
    const place = path.replace('/jupyter-agent/api/', '');
    if (sent !== undefined) {
      this.posted.push([place, sent]);
      return [200, {}];
    }
    const runId = /^runs\/(.*)\/transcript$/.exec(place)?.[1] ?? '';
    const events = this.runs.get(runId);
    if (this.refusal) {
      return this.refusal;
    }
    return events
      ? [200, transcriptOf(runId, events)]
      : [404, { code: 'run_not_found', message: `There is no run ${runId}.` }];
  }

  private _replay(socket: Socket, runId: string, after: string | null): void {
    const events = this.runs.get(runId) ?? [];
    const place = events.findIndex(({ id }) => id === after);
    const [, epoch, seq] = (after ?? '--0').split('-').map(Number) as [number, number, number];
    const survived = events.filter(({ id }) => {
      const [, its, at] = id.split('-').map(Number) as [number, number, number];
      return its <= epoch && at < seq;
    });
    const start = place >= 0 ? place + 1 : survived.length;
    if (after && place < 0) {
      socket.say({ type: 'gap', runId, requested: after });
    }
    socket.say(...events.slice(start));
    const { status } = transcriptOf(runId, events);
    socket.say({ type: 'replay_complete', runId, status, lastEventId: events.at(-1)?.id ?? null });
    this._following.set(socket, (this._following.get(socket) ?? new Set()).add(runId));
  }

  private _followers(runId: string): Socket[] {
    return this.peer.sockets.filter(socket => this._following.get(socket)?.has(runId));
  }

  private readonly _following = new Map<Socket, Set<string>>();
}
