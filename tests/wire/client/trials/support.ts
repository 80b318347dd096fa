/** What the trials stand on: runs started over REST, witnesses of what clients were told, and the comparison. */

import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import WebSocket from 'ws';

import { GatewayClient, type GatewayClientOptions } from '../src/client.js';

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) {
    throw new Error(`Set ${name}: tests/wire/test_wire.py does.`);
  }
  return value;
}

/** Where REST is asked, without delay. */
const REST = setting('GATEWAY_REST');
/** Where sockets are opened: through the network that is tried. */
export const SOCKETS = setting('GATEWAY_SOCKETS');
/** The same through a network that breaks. */
export const CUTTING_SOCKETS = setting('GATEWAY_CUTTING_SOCKETS');
export const TOKEN = setting('GATEWAY_TOKEN');
/** The network's round trip. */
export const RTT_MS = Number(setting('GATEWAY_RTT_MS'));
const LOGS = setting('GATEWAY_LOGS');

/** A deadline of the gateway's, as it is seen from behind this network on a busy machine. */
export function within(ms: number): number {
  return ms + 3 * RTT_MS + 10_000;
}

export const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** Random numbers from 0 to below 1 that are the same in every session (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// --- REST -------------------------------------------------------------------------------------------------------

type Json = Record<string, unknown>;

export async function rest(method: string, path: string, body?: Json): Promise<{ status: number; body: Json }> {
  const response = await fetch(`${REST}/${path}`, {
    method,
    headers: { Authorization: `token ${TOKEN}`, 'Content-Type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {})
  });
  const text = await response.text();
  return { status: response.status, body: text.startsWith('{') ? (JSON.parse(text) as Json) : {} };
}

export interface ScriptedTurn {
  thinking?: string;
  text?: string;
  calls?: { name: string; arguments: Json }[];
  wait_s?: number;
  /** Characters a piece; 0 is a word. */
  chunk?: number;
  delay_s?: number;
}

/** Starts a run of the scripted model and returns its id. */
export async function startRun(turns: ScriptedTurn[], more: Json = {}): Promise<string> {
  const { status, body } = await rest('POST', 'jupyter-agent/api/runs', {
    input: 'Play the script.',
    model: 'scripted',
    script: { turns },
    ...more
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body['runId'] as string;
}

export async function runStatus(runId: string): Promise<string> {
  const { status, body } = await rest('GET', `jupyter-agent/api/runs/${runId}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body['status'] as string;
}

/** Everything that is stored of a run, in order. */
export async function storedEvents(runId: string): Promise<Json[]> {
  const found: Json[] = [];
  let cursor = '';
  do {
    const { status, body } = await rest('GET', `jupyter-agent/api/runs/${runId}/events?limit=200${cursor}`);
    assert.equal(status, 200, JSON.stringify(body));
    found.push(...(body['items'] as Json[]));
    cursor = body['nextCursor'] ? `&cursor=${encodeURIComponent(body['nextCursor'] as string)}` : '';
  } while (cursor);
  return found;
}

/** Does the file that this turn writes exist in the workspace? */
export async function fileExists(turn: ScriptedTurn): Promise<boolean> {
  const path = turn.calls?.[0]?.arguments['path'] as string;
  return (await rest('GET', `api/contents/${path}?content=0`)).status === 200;
}

/** Starts a kernel and returns its id. */
export async function startKernel(): Promise<string> {
  const { status, body } = await rest('POST', 'api/kernels', { name: 'python3' });
  assert.equal(status, 201, JSON.stringify(body));
  return body['id'] as string;
}

export async function stopKernel(kernelId: string): Promise<void> {
  await rest('DELETE', `api/kernels/${kernelId}`);
}

// --- scripts ----------------------------------------------------------------------------------------------------

/** Words that stream one by one. */
export function words(count: number, delayS: number): ScriptedTurn {
  return { text: Array.from({ length: count }, (_, place) => `w${place} `).join(''), chunk: 0, delay_s: delayS };
}

/** Streams for longer than any trial takes: such runs are interrupted. */
export const ENDLESS: ScriptedTurn = words(20_000, 0.04);

let files = 0;

/** A call that a person has to approve. */
export function writesFile(): ScriptedTurn {
  files += 1;
  const path = `trial-${process.pid}-${files}.txt`;
  return { text: 'I write. ', calls: [{ name: 'create_file', arguments: { path, content: 'written\n' } }] };
}

export function asks(): ScriptedTurn {
  return { text: 'I ask. ', calls: [{ name: 'ask_user', arguments: { prompt: 'Which one?' } }] };
}

/** A cell that works for so long. */
export function sleepsInKernel(seconds: number): ScriptedTurn {
  return { calls: [{ name: 'run_cell', arguments: { code: `import time\ntime.sleep(${seconds})\nprint("slept")` } }] };
}

// --- witnesses --------------------------------------------------------------------------------------------------

let witnesses = 0;

/** A client with a protocol of all that it was told. Its sockets can be destroyed without a word. */
export class Witness {
  readonly client: GatewayClient;
  /** Every frame in the order of its arrival. */
  readonly frames: { type: string; id?: string; text: string; json: Json }[] = [];
  readonly closes: number[] = [];
  sockets = 0;
  private raw: WebSocket | undefined;
  private readonly log = join(LOGS, `witness-${RTT_MS}-${(witnesses += 1)}.jsonl`);
  private readonly waiting = new Set<() => void>();
  private static readonly present = new Set<Witness>();
  private static readonly opened: WebSocket[] = [];

  constructor(
    readonly runId: string,
    options: Partial<GatewayClientOptions> = {}
  ) {
    this.client = new GatewayClient({
      url: SOCKETS,
      chatKey: runId,
      token: TOKEN,
      heartbeatIntervalMs: 2_000,
      heartbeatAckMs: within(10_000),
      connectTimeoutMs: within(10_000),
      reconnectBaseMs: 20,
      reconnectCapMs: 1_000,
      createSocket: url => {
        this.sockets += 1;
        this.raw = new WebSocket(url);
        Witness.opened.push(this.raw);
        return this.raw;
      },
      ...options
    });
    this.client.on('raw', text => {
      const json = JSON.parse(text) as Json;
      const id = json['id'] as string | undefined;
      this.frames.push({ type: json['type'] as string, ...(id === undefined ? {} : { id }), text, json });
      this.wake();
    });
    this.client.on('closed', code => {
      this.closes.push(code);
      this.wake();
    });
    this.client.on('auth_failed', () => this.wake());
    Witness.present.add(this);
  }

  connect(): this {
    this.client.connect();
    return this;
  }

  /** Destroys the socket under the client: no closing frame, and what was on its way is gone. Was there one? */
  kill(how: 'close' | 'reset'): boolean {
    const raw = this.raw;
    const socket = (raw as unknown as { _socket?: import('node:net').Socket } | undefined)?._socket;
    if (!raw || raw.readyState >= WebSocket.CLOSING || socket?.destroyed) {
      return false;
    }
    if (socket) {
      how === 'reset' ? socket.resetAndDestroy() : socket.destroy();
    } else {
      raw.terminate();
    }
    return true;
  }

  of(type: string): Json[] {
    return this.frames.filter(frame => frame.type === type).map(frame => frame.json);
  }

  /** Frames that are events, as the gateway numbered them. */
  get events(): Json[] {
    return this.frames.filter(frame => frame.id !== undefined).map(frame => frame.json);
  }

  get text(): string {
    return this.of('agent_event')
      .map(frame => frame['event'] as Json)
      .filter(event => event['kind'] === 'text_delta')
      .map(event => event['content'] as string)
      .join('');
  }

  /** Waits until the condition holds; it is looked at after each frame. */
  async until(what: string, holds: () => boolean, ms = within(20_000)): Promise<void> {
    const deadline = performance.now() + ms;
    while (!holds()) {
      const left = deadline - performance.now();
      assert.ok(left > 0, `${what}: not within ${ms} ms. The last frames were ${this.tail()}`);
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>(resolve => {
        this.waiting.add(resolve);
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  async ended(ms?: number): Promise<void> {
    await this.until('the session ends', () => this.of('session_complete').length > 0, ms);
  }

  /** Waits for the nth question of this type and returns it. */
  async asked(type: 'tool_confirmation_request' | 'input_request', nth = 1): Promise<Json> {
    await this.until(`${type} ${nth}`, () => this.of(type).length >= nth);
    return this.of(type)[nth - 1] as Json;
  }

  /** Leaves, and keeps what was heard for the checker of logs. */
  leave(): void {
    this.client.close();
    if (Witness.present.delete(this)) {
      appendFileSync(this.log, this.frames.map(frame => `${frame.text}\n`).join(''));
    }
  }

  static allLeave(): void {
    Witness.present.forEach(witness => witness.leave());
    RawSocket.present.forEach(raw => raw.socket.terminate());
    // Sockets that were given up would wait for their closing handshake.
    Witness.opened.forEach(socket => socket.terminate());
  }

  private tail(): string {
    return this.frames
      .slice(-5)
      .map(frame => frame.text.slice(0, 200))
      .join(' ');
  }

  private wake(): void {
    for (const resolve of this.waiting) {
      resolve();
    }
    this.waiting.clear();
  }
}

/** Stops a run that streams without end, and waits until the client was told so. */
export async function interruptAndEnd(witness: Witness, ms = within(20_000)): Promise<void> {
  const { status } = await rest('POST', `jupyter-agent/api/runs/${witness.runId}/interrupt`);
  assert.equal(status, 202);
  await witness.ended(ms);
  witness.leave();
}

/** Is it a question asked again, under the cursor at which the client stands? */
function isAnnouncement(frame: Json, last: string | undefined): boolean {
  return frame['id'] === last && (frame['type'] === 'tool_confirmation_request' || frame['type'] === 'input_request');
}

/** The client was told each stored event once, in order, byte for byte what the store tells; and nothing else. */
export async function assertExactlyOnce(witness: Witness, isComplete = true): Promise<void> {
  const stored = await storedEvents(witness.runId);
  const told: Json[] = [];
  for (const frame of witness.events) {
    if (!isAnnouncement(frame, told.at(-1)?.['id'] as string | undefined)) {
      told.push(frame);
    }
  }
  const ids = (events: Json[]): unknown[] => events.map(event => event['id']);
  const count = isComplete ? stored.length : told.length;
  assert.deepEqual(ids(told), ids(stored.slice(0, count)), 'the ids are those of the store, in order');
  assert.deepEqual(told, stored.slice(0, count), 'the events are those of the store');
  const seqs = ids(told).map(id => Number((id as string).split('-').at(-1)));
  assert.deepEqual(
    seqs,
    seqs.map((_, place) => place + 1),
    'they are numbered without holes'
  );
  if (isComplete) {
    assert.equal(told.at(-1)?.['type'], 'session_complete');
  }
}

/** A socket without a client: to say what no client says. */
export class RawSocket {
  readonly frames: Json[] = [];
  code: number | undefined;
  readonly socket: WebSocket;
  static readonly present = new Set<RawSocket>();
  private readonly waiting = new Set<() => void>();

  constructor(query: string) {
    this.socket = new WebSocket(`${SOCKETS}/jupyter-agent/ws${query}`);
    this.socket.on('message', data => {
      this.frames.push(JSON.parse(data.toString()) as Json);
      this.wake();
    });
    this.socket.on('close', code => {
      this.code = code;
      this.wake();
    });
    this.socket.on('error', () => undefined);
    RawSocket.present.add(this);
  }

  static async open(runId: string): Promise<RawSocket> {
    const raw = new RawSocket(`?chatKey=${runId}`);
    await raw.until('the socket is open', () => raw.socket.readyState === WebSocket.OPEN);
    return raw;
  }

  static async authenticated(runId: string): Promise<RawSocket> {
    const raw = await RawSocket.open(runId);
    raw.say({ type: 'auth', token: TOKEN });
    await raw.until('auth_success', () => raw.of('auth_success').length > 0);
    return raw;
  }

  say(frame: Json | string | Buffer): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  of(type: string): Json[] {
    return this.frames.filter(frame => frame['type'] === type);
  }

  get events(): Json[] {
    return this.frames.filter(frame => typeof frame['id'] === 'string');
  }

  async until(what: string, holds: () => boolean, ms = within(20_000)): Promise<void> {
    const deadline = performance.now() + ms;
    while (!holds()) {
      const left = deadline - performance.now();
      assert.ok(left > 0, `${what}: not within ${ms} ms. Heard: ${JSON.stringify(this.frames).slice(-600)}`);
      await Promise.race([
        new Promise<void>(resolve => this.waiting.add(resolve)),
        new Promise<void>(resolve => setTimeout(resolve, Math.min(left, 100)))
      ]);
    }
  }

  async closed(code: number): Promise<void> {
    await this.until('the gateway closes', () => this.code !== undefined);
    assert.equal(this.code, code);
  }

  leave(): void {
    this.socket.close();
  }

  private wake(): void {
    for (const resolve of this.waiting) {
      resolve();
    }
    this.waiting.clear();
  }
}
