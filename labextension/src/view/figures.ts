/** How times, tokens and money read, and what they are of a run. The wording is that of the Python side. */

import type { CompactRun, CompactTurn, RunStatus, Usage } from '../protocol';
import type { IWords } from '../tokens';

const TERMINAL: ReadonlySet<RunStatus> = new Set(['completed', 'error', 'interrupted']);

export function isTerminal(status: RunStatus): boolean {
  return TERMINAL.has(status);
}

/** Returns what a person calls the status. */
export function statusWord(status: RunStatus, words: IWords): string {
  const known: Record<RunStatus, string> = {
    pending: words.__('Starting'),
    running: words.__('Running'),
    waiting_confirmation: words.__('Waiting for your approval'),
    waiting_input: words.__('Waiting for your answer'),
    completed: words.__('Completed'),
    error: words.__('Failed'),
    interrupted: words.__('Stopped')
  };
  return Object.hasOwn(known, status) ? known[status] : status;
}

/** Returns a time span as people write it: 4 ms, 1.3 s, 12 s, 3 min 20 s, 2 h 05 min. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 60) {
    return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${two(Math.floor(seconds % 60))} s`
    : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** Milliseconds from the run's first event to its last, to `now` while it goes on; null before there is any. */
export function elapsedMs(run: CompactRun, now: number | null): number | null {
  const from = Date.parse(run.firstAt ?? '');
  const last = Date.parse(run.lastAt ?? '');
  const to = isTerminal(run.status) || now === null ? last : Math.max(now, last || 0);
  return Number.isNaN(from) || Number.isNaN(to) ? null : Math.max(0, to - from);
}

/** All tokens so far, those of the turn that is being made too; null where no provider told. */
export function tokens(run: CompactRun): number | null {
  const { usage = {}, liveUsage } = run;
  const total = sum(usage) + (liveUsage ? liveUsage.inputTokens + liveUsage.outputTokens : 0);
  return total === 0 && (usage.unmeasuredRequests ?? 0) > 0 ? null : total;
}

function sum(usage: Usage): number {
  return (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0);
}

/** Returns dollars with as many digits as say something. */
export function money(dollars: number): string {
  return `$${dollars.toFixed(dollars < 0.995 ? 4 : 2)}`;
}

/** Part of the prompt tokens that came from the provider's cache, 0 to 1; null before there were any. */
export function cacheRate({ usage = {} }: CompactRun): number | null {
  const { inputTokens = 0, cacheReadTokens = 0 } = usage;
  return inputTokens > 0 && cacheReadTokens > 0 ? Math.min(1, cacheReadTokens / inputTokens) : null;
}

/** Part of the model's window that the last turn filled, 0 to 1; null where it is unknown. */
export function contextRate({ contextUsed = 0, contextMax }: CompactRun): number | null {
  return contextMax && contextUsed > 0 ? Math.min(1, contextUsed / contextMax) : null;
}

/** Tokens a second that the last measured turn wrote; null where there is none. */
export function tokensPerSecond({ turns = [] }: CompactRun): number | null {
  const measured = turns.findLast(turn => (turn.usage?.outputTokens ?? 0) > 0 && turnMs(turn) !== null);
  const ms = measured ? turnMs(measured) : null;
  return measured && ms ? ((measured.usage?.outputTokens ?? 0) * 1000) / ms : null;
}

/** How long the turn's model call took. */
export function turnMs({ startedAt, finishedAt }: CompactTurn): number | null {
  const ms = Date.parse(finishedAt ?? '') - Date.parse(startedAt ?? '');
  return Number.isNaN(ms) ? null : Math.max(0, ms);
}

export function percent(rate: number): string {
  return `${Math.round(rate * 100)} %`;
}
