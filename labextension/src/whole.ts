/**
 * A run as data with every field there, also those that the wire leaves out because they say nothing.
 *
 * It has the shape of `CompactRun`, and may be changed: the fold grows it.
 */

import type { Approval, CompactCall, CompactRun, CompactTurn, InputNeeded, Usage } from './protocol';

type Whole<T> = { -readonly [Name in keyof T]-?: T[Name] };

export type WholeUsage = Whole<Usage>;
export type WholeCall = Whole<CompactCall>;
export type WholeTurn = Whole<Omit<CompactTurn, 'toolCalls' | 'usage'>> & {
  toolCalls: WholeCall[];
  usage: WholeUsage | null;
};
export type WholeRun = Whole<Omit<CompactRun, 'turns' | 'usage' | 'approvals' | 'inputs'>> & {
  turns: WholeTurn[];
  usage: WholeUsage;
  approvals: Approval[];
  inputs: InputNeeded[];
};

/** Returns a copy in which every field is there that the wire leaves out where it says nothing. */
export function whole(run: CompactRun): WholeRun {
  return {
    schemaVersion: 1,
    threadId: null,
    agent: null,
    model: null,
    prompt: '',
    pictures: 0,
    forkedFromRunId: null,
    forkedFromTurn: null,
    liveUsage: null,
    contextUsed: 0,
    contextMax: null,
    modelCallCount: 0,
    waiting: [],
    error: null,
    summary: null,
    isComplete: false,
    firstAt: null,
    lastAt: null,
    lastEventId: '',
    detail: null,
    leftOutTurns: 0,
    leftOutCharacters: 0,
    ...run,
    turns: (run.turns ?? []).map(wholeTurn),
    usage: wholeUsage(run.usage ?? {}),
    approvals: [...(run.approvals ?? [])],
    inputs: [...(run.inputs ?? [])]
  };
}

export function wholeTurn(turn: CompactTurn): WholeTurn {
  return {
    thinking: '',
    text: '',
    model: null,
    startedAt: null,
    finishedAt: null,
    stopReason: null,
    isComplete: false,
    ...turn,
    usage: turn.usage ? wholeUsage(turn.usage) : null,
    toolCalls: (turn.toolCalls ?? []).map(call => ({ ...emptyCall(call.toolCallId, call.name), ...call }))
  };
}

export function emptyCall(toolCallId: string, name: string): WholeCall {
  return {
    toolCallId,
    name,
    arguments: '',
    isEdited: false,
    isEnded: false,
    progress: '',
    result: null,
    isError: false,
    truncated: false,
    blob: null,
    diff: null,
    mime: {},
    decision: null,
    startedAt: null,
    outcome: null,
    latencyMs: null,
    error: null
  };
}

export function wholeUsage(usage: Usage): WholeUsage {
  return {
    inputTokens: 0,
    outputTokens: 0,
    cacheReadTokens: 0,
    cacheWriteTokens: 0,
    reasoningTokens: 0,
    requests: 0,
    unmeasuredRequests: 0,
    cost: null,
    ...usage
  };
}

/** Adds up as Python does: what counted nothing has no say in whether the cost is known. */
export function sum(one: WholeUsage, other: WholeUsage): WholeUsage {
  if (isNothing(other)) {
    return one;
  }
  if (isNothing(one)) {
    return other;
  }
  return {
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    cacheReadTokens: one.cacheReadTokens + other.cacheReadTokens,
    cacheWriteTokens: one.cacheWriteTokens + other.cacheWriteTokens,
    reasoningTokens: one.reasoningTokens + other.reasoningTokens,
    requests: one.requests + other.requests,
    unmeasuredRequests: one.unmeasuredRequests + other.unmeasuredRequests,
    cost: one.cost === null || other.cost === null ? null : one.cost + other.cost
  };
}

function isNothing({ requests, inputTokens, outputTokens }: WholeUsage): boolean {
  return !requests && !(inputTokens + outputTokens);
}
