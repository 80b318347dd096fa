/**
 * A run as a list of slots, each with the few items that are put on the page together.
 *
 * A slot is what the list makes and drops as a whole: a turn, or a part of one with very many tool calls.
 */

import type { CompactCall, CompactError, CompactRun, CompactTurn } from '../protocol';

/** One thing in the stream. `key` is its own for as long as the run is shown. */
export type Item =
  | { readonly kind: 'prompt'; readonly key: string; readonly text: string; readonly pictures: number }
  | { readonly kind: 'origin'; readonly key: string; readonly runId: string; readonly turn: number }
  | { readonly kind: 'thinking'; readonly key: string; readonly turn: CompactTurn }
  | { readonly kind: 'text'; readonly key: string; readonly turn: CompactTurn; readonly isLast: boolean }
  | { readonly kind: 'call'; readonly key: string; readonly call: CompactCall; readonly waits: boolean }
  | { readonly kind: 'error'; readonly key: string; readonly error: CompactError };

export interface ISlot {
  readonly key: string;
  readonly items: ReadonlyArray<Item>;
  readonly turn: CompactTurn | null;
}

/** More tool calls of one turn go to a slot of their own. */
const CALLS = 25;

export function slotsOf(run: CompactRun): ISlot[] {
  const slots: ISlot[] = [];
  if (run.forkedFromRunId) {
    const origin: Item = { kind: 'origin', key: 'origin', runId: run.forkedFromRunId, turn: run.forkedFromTurn ?? 0 };
    slots.push({ key: 'origin', items: [origin], turn: null });
  }
  if (run.prompt || run.pictures) {
    const prompt: Item = { kind: 'prompt', key: 'prompt', text: run.prompt ?? '', pictures: run.pictures ?? 0 };
    slots.push({ key: 'prompt', items: [prompt], turn: null });
  }
  const waiting = new Set((run.approvals ?? []).map(({ toolCallId }) => toolCallId));
  const turns = run.turns ?? [];
  turns.forEach((turn, index) => addTurn(slots, turn, index === turns.length - 1, waiting));
  if (run.error) {
    slots.push({ key: 'error', items: [{ kind: 'error', key: 'error', error: run.error }], turn: null });
  }
  return slots;
}

function addTurn(slots: ISlot[], turn: CompactTurn, isLast: boolean, waiting: ReadonlySet<string>): void {
  const key = `turn-${turn.turn}`;
  const items: Item[] = [];
  if (turn.thinking) {
    items.push({ kind: 'thinking', key: `${key}-thinking`, turn });
  }
  if (turn.text) {
    items.push({ kind: 'text', key: `${key}-text`, turn, isLast });
  }
  const calls = turn.toolCalls ?? [];
  calls.slice(0, CALLS).forEach((call, place) => items.push(callItem(key, place, call, waiting)));
  if (items.length > 0) {
    slots.push({ key, items, turn });
  }
  for (let from = CALLS; from < calls.length; from += CALLS) {
    const more = calls.slice(from, from + CALLS).map((call, place) => callItem(key, from + place, call, waiting));
    slots.push({ key: `${key}-${from}`, items: more, turn: null });
  }
}

function callItem(turnKey: string, place: number, call: CompactCall, waiting: ReadonlySet<string>): Item {
  return {
    kind: 'call',
    key: `${turnKey}-call-${place}`,
    call,
    waits: waiting.has(call.toolCallId) && !call.startedAt
  };
}
