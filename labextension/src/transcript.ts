/**
 * A run as plain data, grown from its events: the twin of `jupyter_agent/transcript.py`, for views.
 *
 * Rules:
 * - One object grows in place, and every field of it is there. Views read it; nobody else writes.
 * - Continued from what `GET runs/{id}/transcript` answers, it is as if it had seen every event.
 * - What this version does not know moves the position and nothing else.
 */

import type {
  AnyEvent,
  AnyKind,
  ApprovalResolved,
  CompactRun,
  Decision,
  InputRequest,
  Outcome,
  RunStarted,
  RunStatus,
  ToolConfirmationRequest,
  ToolTraceFinish,
  ToolTraceStart,
  TurnCommitted
} from './protocol';
import { isEvent } from './protocol';
import { emptyCall, sum, whole, type WholeCall, type WholeRun, type WholeTurn, wholeTurn, wholeUsage } from './whole';

/** Characters of a tool's live output that are kept: the last ones. The whole is in the journal. */
export const PROGRESS_KEPT = 64 * 1024;

const OVER: ReadonlySet<string> = new Set<RunStatus>(['completed', 'error', 'interrupted']);
const ACTIVE: ReadonlySet<string> = new Set<RunStatus>(['pending', 'running', 'waiting_confirmation', 'waiting_input']);
const DECISIONS: ReadonlySet<string> = new Set<Decision>(['approve', 'edit', 'expired', 'reject']);
const OUTCOMES: ReadonlySet<string> = new Set<Outcome>([
  'error',
  'interrupted',
  'rejected',
  'success',
  'timed_out',
  'unknown'
]);

/** Is this a status that nothing follows? */
export function isOver(status: RunStatus): boolean {
  return OVER.has(status);
}

/** What an event is to who has everything up to another: the next, one of those, or written in the place of those. */
export type News = 'next' | 'known' | 'rewritten';

/**
 * Compares the ids of two events of a run; the second may be empty.
 *
 * A higher epoch at a place that we have already means that the server lost events and wrote others there.
 */
export function news(came: string, last: string): News {
  const [place, had] = [placeOf(came), placeOf(last)];
  if (!place) {
    return 'known';
  }
  if (!had || place.seq > had.seq) {
    return 'next';
  }
  return place.epoch > had.epoch ? 'rewritten' : 'known';
}

function placeOf(id: string): { readonly epoch: number; readonly seq: number } | null {
  const found = id.length <= 64 ? /^[A-Za-z0-9]+-(\d+)-(\d+)$/.exec(id) : null;
  return found && { epoch: Number(found[1]), seq: Number(found[2]) };
}

export class Transcript {
  constructor(from?: CompactRun) {
    this._run = whole(from ?? { runId: '', status: 'pending' });
    for (const call of this._run.turns.flatMap(({ toolCalls }) => toolCalls)) {
      this._calls.set(call.toolCallId, call);
    }
  }

  /** The run so far. It is always the same object. */
  get run(): CompactRun {
    return this._run;
  }

  /** Takes the next event in. Throws for one whose fields are not what they must be; the position has moved then. */
  apply(event: AnyEvent): void {
    const run = this._run;
    run.lastEventId = event.id;
    if (!isEvent(event) || !isKnown(event)) {
      return;
    }
    run.runId ||= event.runId;
    run.firstAt ??= event.at;
    run.lastAt = event.at;
    switch (event.type) {
      case 'agent_event':
        return this._stream(event.event);
      case 'run_started':
        return this._start(event);
      case 'status_change':
        return this._become(event.status);
      case 'turn_committed':
        return this._commit(event);
      case 'tool_confirmation_request':
        return this._ask(event);
      case 'approval_resolved':
        return this._resolve(event);
      case 'input_request':
        return this._question(event);
      case 'input_received':
        run.inputs = run.inputs.filter(({ requestId }) => requestId !== event.requestId);
        return;
      case 'tool_trace_start':
      case 'tool_trace_finish':
        return this._trace(event);
      case 'arguments_repaired':
        return this._write(event.toolCallId, () => event.after);
      case 'error':
        run.error = { code: event.code, message: event.message };
        return;
      case 'session_complete':
        this._become(event.status);
        run.usage = wholeUsage(event.usage);
        run.summary = event.summary ?? null;
        run.isComplete = true;
    }
  }

  /** Takes the status of a run that has ended without its last event: a damaged journal has none. */
  settle(status: RunStatus): void {
    this._become(status);
  }

  /** A run that is over waits for nothing, whatever it had asked. */
  private _become(status: RunStatus): void {
    this._run.status = status;
    if (isOver(status)) {
      this._run.approvals = [];
      this._run.inputs = [];
    }
  }

  private _stream(kind: AnyKind): void {
    switch (kind.kind) {
      case 'text_delta':
        this._turn().text += kind.content;
        return;
      case 'thinking':
        this._turn().thinking += kind.content;
        return;
      case 'tool_call_start':
        this._put({ ...emptyCall(kind.toolCallId, kind.name), arguments: kind.arguments });
        return;
      case 'tool_call_delta':
        return this._write(kind.toolCallId, before => before + kind.arguments);
      case 'tool_call_end':
        this._call(kind.toolCallId).isEnded = true;
        return;
      case 'tool_progress':
        return this._progress(this._call(kind.toolCallId), kind.content);
      case 'tool_result': {
        const { result, isError = false, truncated = false, blob = null, diff = null, mime = {} } = kind;
        Object.assign(this._call(kind.toolCallId), { result, isError, truncated, blob, diff, mime, progress: '' });
        this._lengths.delete(kind.toolCallId);
        return;
      }
      case 'message_complete':
        this._turn();
        return;
      case 'step_complete':
        return this._step(kind.stepIndex);
      case 'usage':
        this._run.liveUsage = kind;
        this._run.contextUsed = kind.contextUsed;
        this._run.contextMax = kind.contextMax;
    }
  }

  private _start({ threadId, agent, model, input, fork }: RunStarted): void {
    const texts = input.flatMap(part => (part.type === 'image' ? [] : [part.text]));
    Object.assign(this._run, { threadId, agent, model });
    this._run.prompt = texts.join('\n\n');
    this._run.pictures = input.length - texts.length;
    this._run.forkedFromRunId = fork?.runId ?? null;
    this._run.forkedFromTurn = fork?.turn ?? null;
  }

  private _commit({ model, usage, stopReason, startedAt, finishedAt }: TurnCommitted): void {
    Object.assign(this._turn(), { model, stopReason, startedAt, finishedAt, usage: wholeUsage(usage) });
    this._run.usage = sum(this._run.usage, wholeUsage(usage));
    this._run.liveUsage = null;
    this._run.modelCallCount += 1;
  }

  private _step(stepIndex: number): void {
    const { turns } = this._run;
    const turn = turns[stepIndex - (turns[0]?.turn ?? 0)];
    if (turn) {
      turn.isComplete = true;
    }
  }

  private _ask(event: ToolConfirmationRequest): void {
    const { approvalId, toolCallId, tool, effects = [], preview = {}, at, expiresAt } = event;
    const { name: toolName, arguments: text } = tool;
    this._call(toolCallId);
    const asked = { approvalId, runId: this._run.runId, toolCallId, toolName, arguments: text, effects, preview };
    const others = this._run.approvals;
    this._run.approvals = placed(others, { ...asked, askedAt: at, expiresAt }, one => one.approvalId === approvalId);
  }

  private _resolve({ approvalId, toolCallId, decision, arguments: edited }: ApprovalResolved): void {
    const call = this._call(toolCallId);
    call.decision = decision;
    if (edited) {
      call.arguments = edited;
      call.isEdited = true;
    }
    if (decision === 'reject' || decision === 'expired') {
      call.outcome ??= 'rejected';
    }
    this._run.approvals = this._run.approvals.filter(one => one.approvalId !== approvalId);
  }

  private _question({ requestId, prompt, schema, at: askedAt }: InputRequest): void {
    const asked = { requestId, runId: this._run.runId, prompt, askedAt, ...(schema ? { schema } : {}) };
    this._run.inputs = placed(this._run.inputs, asked, one => one.requestId === requestId);
  }

  private _trace(event: ToolTraceStart | ToolTraceFinish): void {
    const call = this._call(event.toolCallId);
    if (event.type === 'tool_trace_start') {
      call.startedAt = event.startedAt;
      call.outcome = null;
      return;
    }
    call.outcome = event.outcome;
    call.latencyMs = event.latencyMs;
    call.error = event.error ?? null;
  }

  /** Changes a call's arguments, unless a person replaced them: then those count. */
  private _write(toolCallId: string, change: (before: string) => string): void {
    const call = this._call(toolCallId);
    if (!call.isEdited) {
      call.arguments = change(call.arguments);
    }
  }

  /** Keeps the last characters, counted as Python does: one that takes two units of a JavaScript string is one. */
  private _progress(call: WholeCall, content: string): void {
    if (call.result !== null) {
      return;
    }
    let length = (this._lengths.get(call.toolCallId) ?? characters(call.progress)) + characters(content);
    call.progress += content;
    if (length > PROGRESS_KEPT) {
      call.progress = withoutFirst(call.progress, length - PROGRESS_KEPT);
      length = PROGRESS_KEPT;
    }
    this._lengths.set(call.toolCallId, length);
  }

  /** The turn in progress: the last one that is not complete, made when there is none. */
  private _turn(): WholeTurn {
    const { turns, lastAt } = this._run;
    const last = turns.at(-1);
    if (last && !last.isComplete) {
      return last;
    }
    const turn = wholeTurn({ turn: last ? last.turn + 1 : 0, startedAt: lastAt });
    turns.push(turn);
    return turn;
  }

  /** The call, made on the spot for a journal that names one it never started. */
  private _call(toolCallId: string): WholeCall {
    return this._calls.get(toolCallId) ?? this._put(emptyCall(toolCallId, ''));
  }

  /** Adds a call to the turn in progress, in place of one of the same id. */
  private _put(call: WholeCall): WholeCall {
    const { toolCalls } = this._turn();
    const before = this._calls.get(call.toolCallId);
    const place = before ? toolCalls.indexOf(before) : -1;
    toolCalls[place < 0 ? toolCalls.length : place] = call;
    this._calls.set(call.toolCallId, call);
    this._lengths.delete(call.toolCallId);
    return call;
  }

  private readonly _run: WholeRun;
  private readonly _calls = new Map<string, WholeCall>();
  /** How many characters of progress each working call has. */
  private readonly _lengths = new Map<string, number>();
}

/** Does this version know the words of the event? One of another version says nothing to it. */
function isKnown(event: AnyEvent): boolean {
  switch (event.type) {
    case 'status_change':
    case 'session_complete':
      return OVER.has(event.status) || ACTIVE.has(event.status);
    case 'approval_resolved':
      return DECISIONS.has(event.decision);
    case 'tool_trace_finish':
      return OUTCOMES.has(event.outcome);
    default:
      return true;
  }
}

/** Returns the list with the item in its old place, or at the end. */
function placed<T>(list: ReadonlyArray<T>, item: T, isSame: (other: T) => boolean): T[] {
  const place = list.findIndex(isSame);
  return place < 0 ? [...list, item] : list.with(place, item);
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function characters(text: string): number {
  let pairs = 0;
  for (let index = 0; index < text.length; index++) {
    if (isHigh(text.charCodeAt(index))) {
      pairs += 1;
    }
  }
  return text.length - pairs;
}

function withoutFirst(text: string, count: number): string {
  let index = 0;
  for (let left = count; left > 0; left--) {
    index += isHigh(text.charCodeAt(index)) ? 2 : 1;
  }
  return text.slice(index);
}
