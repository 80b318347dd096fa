/** How something stopped waiting, as a sentence for whoever looks at it. */

import type { CompactRun, Decision } from '../protocol';
import type { IWords } from '../tokens';
import type { Ending } from '../waiting';

export function farewell(ending: Ending, words: IWords): string {
  const known: Record<Ending, string> = {
    approve: words.__('It was approved elsewhere meanwhile.'),
    edit: words.__('It was approved elsewhere meanwhile, with other arguments.'),
    reject: words.__('It was rejected elsewhere meanwhile.'),
    expired: words.__('Nobody decided in time, so the call was rejected.'),
    answered: words.__('The question was answered elsewhere meanwhile.'),
    unanswered: words.__('Nobody answered in time: the agent goes on without an answer.'),
    over: words.__('The run is over, so nothing waits here any more.')
  };
  return known[ending];
}

/** Returns what was decided on a tool call of the run, as far as the run's transcript tells. */
export function decisionIn(run: CompactRun | null, toolCallId: string): Decision | null {
  const calls = (run?.turns ?? []).flatMap(({ toolCalls = [] }) => toolCalls);
  return calls.findLast(call => call.toolCallId === toolCallId)?.decision ?? null;
}
