/**
 * What a notebook keeps of a run, read as what it is: data of unknown origin.
 *
 * Whatever does not have the shape it should have is left out, and whatever would let somebody act (approvals, questions)
 * is never taken from here. The result holds only known fields, of known types.
 */

import type {
  CompactCall,
  CompactError,
  CompactRun,
  CompactTurn,
  CompactWait,
  Decision,
  Outcome,
  RunStatus,
  Usage
} from '../protocol';

const RUN_ID = /^run_[0-9a-f]{20}$/;

/** More than this is never kept by us, so what is beyond it is not ours. */
const MOST_TURNS = 20_000;
const MOST_CALLS = 20_000;

const STATUSES: ReadonlyArray<RunStatus> = [
  'pending',
  'running',
  'waiting_confirmation',
  'waiting_input',
  'completed',
  'error',
  'interrupted'
];
const OUTCOMES: ReadonlyArray<Outcome> = ['success', 'error', 'rejected', 'interrupted', 'timed_out', 'unknown'];
const DECISIONS: ReadonlyArray<Decision> = ['approve', 'edit', 'expired', 'reject'];

/** Is this the id of a run, as the gateway makes them? */
export function isRunId(value: unknown): value is string {
  return typeof value === 'string' && RUN_ID.test(value);
}

/** Returns the run that was kept, or null for what is none. */
export function parseSaved(value: unknown): CompactRun | null {
  const data = new Data(value);
  const runId = data.text('runId');
  const status = data.oneOf('status', STATUSES);
  if (!isRunId(runId) || !status) {
    return null;
  }
  const origin = data.text('forkedFromRunId');
  return {
    runId,
    status,
    threadId: data.text('threadId') ?? null,
    agent: data.text('agent') ?? null,
    model: data.text('model') ?? null,
    prompt: data.text('prompt') ?? '',
    pictures: data.number('pictures') ?? 0,
    forkedFromRunId: isRunId(origin) ? origin : null,
    forkedFromTurn: data.number('forkedFromTurn') ?? null,
    turns: data.list('turns', MOST_TURNS).map(turn),
    usage: usage(data.part('usage')),
    contextUsed: data.number('contextUsed') ?? 0,
    contextMax: data.number('contextMax') ?? null,
    modelCallCount: data.number('modelCallCount') ?? 0,
    waiting: data.list('waiting', 100).map(waiting),
    error: data.has('error') ? error(data.part('error')) : null,
    summary: data.text('summary') ?? null,
    firstAt: data.time('firstAt') ?? null,
    lastAt: data.time('lastAt') ?? null,
    leftOutTurns: data.number('leftOutTurns') ?? 0,
    leftOutCharacters: data.number('leftOutCharacters') ?? 0
  };
}

function turn(data: Data, index: number): CompactTurn {
  return {
    turn: data.number('turn') ?? index,
    thinking: data.text('thinking') ?? '',
    text: data.text('text') ?? '',
    toolCalls: data.list('toolCalls', MOST_CALLS).map(call),
    model: data.text('model') ?? null,
    usage: data.has('usage') ? usage(data.part('usage')) : null,
    startedAt: data.time('startedAt') ?? null,
    finishedAt: data.time('finishedAt') ?? null,
    isComplete: data.is('isComplete')
  };
}

function call(data: Data, index: number): CompactCall {
  return {
    toolCallId: data.text('toolCallId') ?? `call-${index}`,
    name: data.text('name') ?? '',
    arguments: data.text('arguments') ?? '',
    isEnded: data.is('isEnded'),
    progress: data.text('progress') ?? '',
    result: data.text('result') ?? null,
    isError: data.is('isError'),
    truncated: data.is('truncated'),
    diff: data.text('diff') ?? null,
    mime: data.texts('mime'),
    decision: data.oneOf('decision', DECISIONS) ?? null,
    startedAt: data.time('startedAt') ?? null,
    outcome: data.oneOf('outcome', OUTCOMES) ?? null,
    latencyMs: data.number('latencyMs') ?? null,
    error: data.text('error') ?? null
  };
}

function waiting(data: Data): CompactWait {
  return { kind: data.text('kind') ?? '', what: data.text('what') ?? '' };
}

function error(data: Data): CompactError {
  return { code: data.text('code') ?? '', message: data.text('message') ?? '' };
}

function usage(data: Data): Usage {
  return {
    inputTokens: data.number('inputTokens') ?? 0,
    outputTokens: data.number('outputTokens') ?? 0,
    cacheReadTokens: data.number('cacheReadTokens') ?? 0,
    cacheWriteTokens: data.number('cacheWriteTokens') ?? 0,
    reasoningTokens: data.number('reasoningTokens') ?? 0,
    requests: data.number('requests') ?? 0,
    unmeasuredRequests: data.number('unmeasuredRequests') ?? 0,
    cost: data.number('cost') ?? null
  };
}

/** An object of unknown origin, asked for its fields one by one; a field of another type is not there. */
class Data {
  constructor(value: unknown) {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    this._fields = isObject ? (value as Record<string, unknown>) : {};
  }

  has(name: string): boolean {
    return this._own(name) !== undefined && this._own(name) !== null;
  }

  is(name: string): boolean {
    return this._own(name) === true;
  }

  text(name: string): string | undefined {
    const value = this._own(name);
    return typeof value === 'string' ? value : undefined;
  }

  number(name: string): number | undefined {
    const value = this._own(name);
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
  }

  time(name: string): string | undefined {
    const value = this.text(name);
    return value !== undefined && !Number.isNaN(Date.parse(value)) ? value : undefined;
  }

  oneOf<T extends string>(name: string, known: ReadonlyArray<T>): T | undefined {
    return known.find(value => value === this._own(name));
  }

  part(name: string): Data {
    return new Data(this._own(name));
  }

  list(name: string, most: number): Data[] {
    const value = this._own(name);
    return Array.isArray(value) ? value.slice(0, most).map(item => new Data(item)) : [];
  }

  texts(name: string): Record<string, string> {
    const found = this.part(name);
    const pairs = Object.keys(found._fields).map(key => [key, found.text(key)] as const);
    return Object.fromEntries(pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined));
  }

  private _own(name: string): unknown {
    return Object.hasOwn(this._fields, name) ? this._fields[name] : undefined;
  }

  private readonly _fields: Record<string, unknown>;
}
