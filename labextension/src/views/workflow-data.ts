/** What is told or was kept of a workflow's calls, read with care; and which call stands on which line of the list. */

import { countOf, type Fields, fieldsOf, listOf, numberOf, textOf, textOrNull } from './read';

/** More calls than a pass may have; a copy that holds more is not one of ours. */
const MOST_CALLS = 5_000;
const MOST_LOG = 1_000;

/** Where a call stands, as it is shown. */
export type State = 'store' | 'live' | 'running' | 'queued' | 'waiting' | 'failed';

const STATES: Readonly<Record<string, State>> = {
  done: 'live',
  failed: 'failed',
  queued: 'queued',
  running: 'running',
  waiting: 'waiting'
};

export interface ICall {
  readonly number: number;
  readonly name: string;
  readonly phase: string;
  readonly state: State;
  /** Why it was or was not reused, and in which way the first field that differs has changed. */
  readonly why: string;
  readonly change: string;
  readonly model: string;
  readonly runId: string;
  readonly tries: number;
  readonly tokens: number | null;
  readonly cost: number | null;
  readonly savedTokens: number | null;
  readonly savedCost: number | null;
  /** What it took, or has taken until it was told. */
  readonly seconds: number | null;
  /** For how many seconds nothing has come of it, where that is minutes. */
  readonly silent: number | null;
  readonly error: string;
}

export interface ISums {
  readonly calls: number;
  readonly counts: Readonly<Record<State, number>>;
  readonly tokens: number;
  readonly cost: number;
  readonly savedTokens: number;
  readonly savedCost: number;
}

export interface IWorkflow {
  readonly title: string;
  readonly calls: ReadonlyArray<ICall>;
  readonly sums: ISums;
  readonly seconds: number | null;
  /** When it was told, in milliseconds since 1970; 0 where that is unknown. */
  readonly at: number;
  readonly log: ReadonlyArray<string>;
  readonly earlierLog: number;
  /** Calls that there were beside these. */
  readonly leftOut: number;
  /** What opens of them in a copy, by their number. */
  readonly opened: Fields;
}

export function readWorkflow(value: unknown): IWorkflow {
  const told = fieldsOf(value);
  const calls = listOf(told.rows).slice(0, MOST_CALLS).map(fieldsOf).map(readCall);
  const sums = fieldsOf(told.sums);
  const reused = countOf(sums.reused);
  return {
    title: textOf(told.title),
    calls,
    sums: {
      calls: countOf(sums.calls),
      counts: {
        store: reused,
        live: Math.max(0, countOf(sums.done) - reused),
        running: countOf(sums.running),
        queued: countOf(sums.queued),
        waiting: countOf(sums.waiting),
        failed: countOf(sums.failed)
      },
      tokens: countOf(sums.tokens),
      cost: numberOf(sums.cost) ?? 0,
      savedTokens: countOf(sums.savedTokens),
      savedCost: numberOf(sums.savedCost) ?? 0
    },
    seconds: numberOf(told.seconds),
    at: Date.parse(textOf(told.at)) || 0,
    log: listOf(told.log).slice(-MOST_LOG).map(textOf),
    earlierLog: countOf(told.earlierLog),
    leftOut: countOf(told.leftOut),
    opened: fieldsOf(told.opened)
  };
}

function readCall(row: Fields): ICall {
  const status = textOf(row.status);
  const state = Object.hasOwn(STATES, status) ? (STATES[status] as State) : 'queued';
  return {
    number: countOf(row.number),
    name: textOf(row.name),
    phase: textOf(row.phase),
    state: state === 'live' && row.reused === true ? 'store' : state,
    why: textOf(row.why),
    change: textOf(row.change),
    model: textOf(row.model),
    runId: textOf(row.runId),
    tries: countOf(row.tries),
    tokens: numberOf(row.tokens),
    cost: numberOf(row.cost),
    savedTokens: numberOf(row.savedTokens),
    savedCost: numberOf(row.savedCost),
    seconds: numberOf(row.seconds),
    silent: numberOf(row.silent),
    error: textOf(row.error)
  };
}

/** One call with its texts, as it opens. */
export interface IWholeCall {
  readonly prompt: string;
  readonly answer: string | null;
  readonly error: string;
  readonly field: string;
  readonly was: string | null;
  readonly now: string | null;
}

export function readWhole(value: unknown): IWholeCall {
  const call = fieldsOf(value);
  return {
    prompt: textOf(call.prompt),
    answer: textOrNull(call.answer),
    error: textOf(call.error),
    field: textOf(call.field),
    was: textOrNull(call.was),
    now: textOrNull(call.now)
  };
}

/** Calls of one phase, in the order in which they were made. */
export interface ISection {
  readonly phase: string;
  readonly calls: ReadonlyArray<ICall>;
}

/** Returns the calls by their phases, in the order in which these came up. */
export function sectionsOf(calls: ReadonlyArray<ICall>): ISection[] {
  const sections = new Map<string, ICall[]>();
  for (const call of calls) {
    const section = sections.get(call.phase);
    if (section) {
      section.push(call);
    } else {
      sections.set(call.phase, [call]);
    }
  }
  return [...sections].map(([phase, all]) => ({ phase, calls: all }));
}

/** A line of the list: a call, or the head of a section. */
export type Line = { readonly call: ICall } | { readonly section: ISection };

/** Returns what stands on each line; without any phase there are no heads. */
export function linesOf(sections: ReadonlyArray<ISection>, folded: ReadonlySet<string>): Line[] {
  if (sections.every(({ phase }) => phase === '')) {
    return sections.flatMap(({ calls }) => calls.map(call => ({ call })));
  }
  return sections.flatMap(section => [
    { section },
    ...(folded.has(section.phase) ? [] : section.calls.map(call => ({ call })))
  ]);
}

/** Returns how many of the calls stand how. */
export function countsOf(calls: ReadonlyArray<ICall>): Record<State, number> {
  const counts: Record<State, number> = { store: 0, live: 0, running: 0, queued: 0, waiting: 0, failed: 0 };
  calls.forEach(({ state }) => (counts[state] += 1));
  return counts;
}
