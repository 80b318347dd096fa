/**
 * A client of the agent gateway: shows one run, survives lost sockets, answers questions.
 *
 * It believes the gateway: frames are handed on in the order in which they come, none is compared with earlier ones,
 * and the id of the last one is the cursor that the next socket resumes from. It has nothing to resume before it has
 * seen an id. It reconnects after every close that it did not ask for, unless the gateway refused its token.
 */

import { EventEmitter } from 'node:events';
import WebSocket from 'ws';

import {
  type AgentEventFrame,
  type Command,
  type ErrorFrame,
  type EventFrame,
  type InputRequestFrame,
  type RunStatus,
  type SessionCompleteFrame,
  type ServerFrame,
  type ToolConfirmationFrame,
  isEventFrame,
  parseFrame
} from './protocol.js';

export type ConnectionStatus = 'idle' | 'connecting' | 'authenticating' | 'connected' | 'reconnecting' | 'closed';

/** Close code for a gateway that no longer answers. */
export const NO_ANSWER = 4000;

export interface GatewayClientOptions {
  /** The gateway's address, up to and including the base path: `ws://host:port/base`. */
  url: string;
  /** The run to show. */
  chatKey: string;
  token: string;
  /** Where an earlier session of this client stood. */
  lastEventId?: string;
  /** From opening a socket to `auth_success`. */
  connectTimeoutMs?: number;
  heartbeatIntervalMs?: number;
  heartbeatAckMs?: number;
  /** How often to try again in a row; 0 never reconnects. */
  maxReconnects?: number;
  /** The first delay before a new attempt; it doubles up to `reconnectCapMs`. */
  reconnectBaseMs?: number;
  reconnectCapMs?: number;
  /** Opens the socket; for environments that bring their own. */
  createSocket?: (url: string) => WebSocket;
}

interface ClientEvents {
  connection: [status: ConnectionStatus];
  authenticated: [];
  auth_failed: [reason: string];
  event: [frame: EventFrame];
  agent_event: [frame: AgentEventFrame];
  status: [status: RunStatus];
  confirmation: [frame: ToolConfirmationFrame];
  input: [frame: InputRequestFrame];
  error_event: [frame: ErrorFrame];
  complete: [frame: SessionCompleteFrame];
  /** The session is over: it completed or failed. Once. */
  ended: [];
  heartbeat_ack: [roundTripMs: number];
  /** Every frame as it came, for logs. */
  raw: [text: string];
  reconnecting: [attempt: number, delayMs: number];
  /** No more attempts will be made. */
  gave_up: [];
  closed: [code: number, reason: string];
}

export class GatewayClient extends EventEmitter<ClientEvents> {
  private readonly url: string;
  private readonly connectTimeoutMs: number;
  private readonly heartbeatIntervalMs: number;
  private readonly heartbeatAckMs: number;
  private readonly maxReconnects: number;
  private readonly reconnectBaseMs: number;
  private readonly reconnectCapMs: number;
  private readonly createSocket: (url: string) => WebSocket;

  private token: string;
  private cursor: string | undefined;
  private socket: WebSocket | undefined;
  private connection: ConnectionStatus = 'idle';
  private attempts = 0;
  private wanted = false;
  private over = false;
  private reconnectTimer: NodeJS.Timeout | undefined;
  private heartbeatTimer: NodeJS.Timeout | undefined;
  private connectTimer: NodeJS.Timeout | undefined;
  private ackTimer: NodeJS.Timeout | undefined;
  private heartbeatSentAt = 0;

  constructor(options: GatewayClientOptions) {
    super();
    this.url = `${options.url.replace(/\/$/, '')}/jupyter-agent/ws?chatKey=${encodeURIComponent(options.chatKey)}`;
    this.token = options.token;
    this.cursor = options.lastEventId;
    this.connectTimeoutMs = options.connectTimeoutMs ?? 15_000;
    this.heartbeatIntervalMs = options.heartbeatIntervalMs ?? 30_000;
    this.heartbeatAckMs = options.heartbeatAckMs ?? 10_000;
    this.maxReconnects = options.maxReconnects ?? 10;
    this.reconnectBaseMs = options.reconnectBaseMs ?? 1_000;
    this.reconnectCapMs = options.reconnectCapMs ?? 30_000;
    this.createSocket = options.createSocket ?? (url => new WebSocket(url));
  }

  get connectionStatus(): ConnectionStatus {
    return this.connection;
  }

  get lastEventId(): string | undefined {
    return this.cursor;
  }

  get ended(): boolean {
    return this.over;
  }

  connect(): void {
    if (this.wanted) {
      return;
    }
    this.wanted = true;
    this.attempts = 0;
    this.open();
  }

  /** Closes for good. */
  close(): void {
    this.wanted = false;
    this.stopTimers();
    this.socket?.close(1000);
    this.report('closed');
  }

  /** Stops the run; the session goes on until the gateway says that it is complete. */
  interrupt(): void {
    this.send({ type: 'interrupt' });
  }

  /** Stops the run and leaves. */
  cancel(): void {
    this.interrupt();
    this.close();
  }

  confirmTool(toolCallId: string, approved: boolean): void {
    this.send({ type: 'tool_confirmation', toolCallId, approved });
  }

  sendInput(requestId: string, content: string): void {
    this.send({ type: 'user_input', requestId, content });
  }

  /** Takes a new token: for the open socket, and for those to come. */
  updateToken(token: string): void {
    this.token = token;
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.send({ type: 'auth', token });
    }
  }

  private open(): void {
    this.report(this.attempts ? 'reconnecting' : 'connecting');
    const socket = this.createSocket(this.url);
    this.socket = socket;
    this.connectTimer = setTimeout(() => this.unanswered(), this.connectTimeoutMs);
    socket.on('open', () => {
      if (socket === this.socket) {
        this.report('authenticating');
        this.send({ type: 'auth', token: this.token });
      }
    });
    socket.on('message', (data, isBinary) => {
      if (socket === this.socket && !isBinary) {
        this.receive(data.toString());
      }
    });
    // The close that follows tells all that there is to do.
    socket.on('error', () => undefined);
    socket.on('close', (code, reason) => {
      if (socket === this.socket) {
        this.lost(code, reason.toString());
      }
    });
  }

  private send(command: Command): void {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(command));
    }
  }

  private receive(text: string): void {
    this.emit('raw', text);
    const fields = parseFrame(text);
    if (!fields) {
      return;
    }
    const frame = fields as unknown as ServerFrame;
    if (isEventFrame(frame)) {
      this.cursor = frame.id;
      this.emit('event', frame);
    } else if (typeof fields['id'] === 'string') {
      this.cursor = fields['id'];
    }
    switch (frame.type) {
      case 'auth_success':
        return this.authenticated();
      case 'auth_failed':
        return this.refused(frame.reason);
      case 'heartbeat_ack':
        return this.acknowledged();
      case 'agent_event':
        this.emit('agent_event', frame);
        return;
      case 'status_change':
        this.emit('status', frame.status);
        return;
      case 'tool_confirmation_request':
        this.emit('confirmation', frame);
        return;
      case 'input_request':
        this.emit('input', frame);
        return;
      case 'error':
        this.emit('error_event', frame);
        return this.end();
      case 'session_complete':
        this.emit('complete', frame);
        return this.end();
    }
  }

  private authenticated(): void {
    const again = this.connection === 'connected';
    this.attempts = 0;
    clearTimeout(this.connectTimer);
    this.report('connected');
    this.emit('authenticated');
    if (again) {
      return;
    }
    this.startHeartbeat();
    if (this.cursor !== undefined) {
      this.send({ type: 'resume', lastEventId: this.cursor });
    }
  }

  private refused(reason: string): void {
    this.wanted = false;
    this.stopTimers();
    this.emit('auth_failed', reason);
  }

  private end(): void {
    if (!this.over) {
      this.over = true;
      this.emit('ended');
    }
  }

  private startHeartbeat(): void {
    this.heartbeatTimer = setInterval(() => {
      this.heartbeatSentAt = performance.now();
      this.send({ type: 'heartbeat' });
      this.ackTimer ??= setTimeout(() => this.unanswered(), this.heartbeatAckMs);
    }, this.heartbeatIntervalMs);
  }

  private acknowledged(): void {
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
    this.emit('heartbeat_ack', performance.now() - this.heartbeatSentAt);
  }

  /** A gateway that is not there does not answer a closing frame either: the socket is given up at once. */
  private unanswered(): void {
    const { socket } = this;
    if (socket?.readyState === WebSocket.CONNECTING) {
      socket.terminate();
    } else {
      socket?.close(NO_ANSWER, 'no answer');
    }
    this.lost(NO_ANSWER, 'no answer');
  }

  private lost(code: number, reason: string): void {
    this.stopTimers();
    this.socket = undefined;
    this.emit('closed', code, reason);
    if (!this.wanted) {
      this.report('closed');
      return;
    }
    if (this.attempts >= this.maxReconnects) {
      this.wanted = false;
      this.report('closed');
      this.emit('gave_up');
      return;
    }
    const delay = Math.min(this.reconnectBaseMs * 2 ** this.attempts, this.reconnectCapMs);
    this.attempts += 1;
    this.report('reconnecting');
    this.emit('reconnecting', this.attempts, delay);
    this.reconnectTimer = setTimeout(() => this.open(), delay);
  }

  private stopTimers(): void {
    clearTimeout(this.reconnectTimer);
    clearTimeout(this.connectTimer);
    clearInterval(this.heartbeatTimer);
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
  }

  private report(status: ConnectionStatus): void {
    if (status !== this.connection) {
      this.connection = status;
      this.emit('connection', status);
    }
  }
}
