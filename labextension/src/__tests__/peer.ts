/** A server over real sockets that says what a test tells it to: the other end of a connection. */

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

import WebSocket, { WebSocketServer } from 'ws';

import type { AnyCommand } from '../protocol';

type Heard = (socket: Socket, command: AnyCommand) => void;

/** One accepted socket. */
export class Socket {
  constructor(readonly raw: WebSocket) {}

  readonly heard: AnyCommand[] = [];

  say(...frames: object[]): void {
    frames.forEach(frame => this.raw.send(JSON.stringify(frame)));
  }

  /** Ends the TCP connection without a closing handshake. */
  kill(): void {
    this.raw.terminate();
  }
}

/** What REST requests are answered, by path, query and what was posted, if anything: a status and a body. */
type Answer = (path: string, query: URLSearchParams, posted: unknown) => readonly [number, unknown];

export class Peer {
  private constructor(private readonly _server: Server) {
    _server.on('request', async (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', this.url);
      const sent = await text(request);
      const [status, body] = this.onRequest(pathname, searchParams, sent ? JSON.parse(sent) : undefined);
      this.requests.push(`${pathname}?${searchParams}`);
      this.keys.push(...[request.headers['idempotency-key'] ?? []].flat());
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
    new WebSocketServer({ server: _server }).on('connection', raw => {
      const socket = new Socket(raw);
      this.sockets.push(socket);
      raw.on('message', data => {
        const command = JSON.parse(String(data)) as AnyCommand;
        socket.heard.push(command);
        this.onCommand(socket, command);
      });
    });
  }

  static async start(): Promise<Peer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Peer(server);
  }

  readonly sockets: Socket[] = [];
  readonly requests: string[] = [];

  /** The `Idempotency-Key` of every request that had one. */
  readonly keys: string[] = [];

  onRequest: Answer = () => [404, { code: 'not_found', message: 'There is nothing here.' }];

  /** What is done on a command: by default every auth succeeds and every heartbeat is acknowledged. */
  onCommand: Heard = welcome;

  /** The address with http; sockets are opened at the same with ws. */
  get url(): string {
    return `http://127.0.0.1:${(this._server.address() as AddressInfo).port}/`;
  }

  async stop(): Promise<void> {
    this.sockets.forEach(socket => socket.kill());
    this._server.closeAllConnections();
    await new Promise(done => this._server.close(done));
  }
}

export const welcome: Heard = (socket, command) => {
  if (command.type === 'auth') {
    socket.say({ type: 'auth_success' });
  } else if (command.type === 'heartbeat') {
    socket.say({ type: 'heartbeat_ack' });
  }
};

/** Waits until the condition holds, 5 s at most. */
export async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > end) {
      throw new Error(`This did not come true: ${condition}`);
    }
    await pause(2);
  }
}

/** Closes every dialog of the page as a person does. */
export async function closeDialogs(): Promise<void> {
  await until(() => {
    const dialog = document.querySelector('.jp-Dialog');
    dialog?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
    return dialog === null;
  });
}

/** Lets enough time pass for what must not happen. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise(done => setTimeout(done, milliseconds));
}

/** An event of a followed run as the wire has it. */
export function event(
  runId: string,
  seq: number,
  fields: object = { type: 'status_change', status: 'running' }
): object {
  return { ...fields, id: `aaaaaaaaaa-1-${seq}`, runId, at: '2026-01-01T00:00:00.000000Z', crc: '00000000' };
}
