/** Says where what is shown comes from, whenever that is not simply the gateway, and what to do about it. */

import type { CompactRun } from '../protocol';
import type { IRunModel, IWords } from '../tokens';
import { isTerminal } from './figures';

export interface INotice {
  readonly level: 'quiet' | 'warning';
  readonly text: string;
  readonly mayRetry: boolean;
}

/** Returns what is to be said, line by line. */
export function noticesOf(shown: CompactRun | null, model: IRunModel | null, words: IWords): INotice[] {
  const source = sourceOf(shown, model, words);
  return [...(source ? [source] : []), ...(shown && model?.transcript !== shown ? ofCopy(shown, words) : [])];
}

function sourceOf(shown: CompactRun | null, model: IRunModel | null, words: IWords): INotice | null {
  if (!model) {
    return quiet(
      shown ? words.__('Saved copy') : words.__('Nothing of this run was kept here, and there is no agent gateway.')
    );
  }
  switch (model.state) {
    case 'loading':
      return model.fault ? warning(model.fault) : quiet(words.__('Asking the server for this run…'));
    case 'behind':
      // Without a fault it is only about to catch up, as every run is for a moment.
      return model.fault ? warning(words.__('What you see may be behind: %1', model.fault)) : ofTeller(model, words);
    case 'refused': {
      const text = words.__('This page cannot follow the run any more: reload it, and sign in again if it asks.');
      const why = model.fault ? words.__(' (The server said: %1)', model.fault) : '';
      return { ...warning(text + why), mayRetry: true };
    }
    case 'absent':
      if (shown && shown === model.transcript) {
        return warning(words.__('%1 What you see is the last that this page heard of it.', model.fault ?? ''));
      }
      return shown
        ? quiet(words.__('Saved copy: this server does not know the run.'))
        : warning(
            words.__(
              'Nothing of this run was kept here that can be read, and the server does not have it. %1',
              model.fault ?? words.__('It was deleted, or belongs to another server.')
            )
          );
    default:
      return model.fault ? warning(model.fault) : ofTeller(model, words);
  }
}

function ofTeller({ gateway }: IRunModel, words: IWords): INotice | null {
  return gateway.teller === 'kernel' ? quiet(toldByKernel(words)) : null;
}

/** Says that what is shown comes over the kernel. */
export function toldByKernel(words: IWords): string {
  return words.__('Told by the kernel: this page does not reach its gateway by itself.');
}

function ofCopy(shown: CompactRun, words: IWords): INotice[] {
  const found: INotice[] = [];
  if (!isTerminal(shown.status)) {
    found.push(quiet(words.__('Partial: the run was still going when this was saved.')));
  }
  for (const { kind, what } of (shown.waiting ?? []).slice(0, 10)) {
    const text =
      kind === 'approval' ? words.__('It waited for approval of: %1', what) : words.__('It had asked: %1', what);
    found.push(quiet(text.slice(0, 500)));
  }
  const { leftOutTurns = 0, leftOutCharacters = 0 } = shown;
  if (leftOutTurns > 0) {
    const text = words._n('%2 earlier turn is', '%2 earlier turns are', leftOutTurns, leftOutTurns.toLocaleString());
    found.push(quiet(words.__('%1 not in this copy; ja.open("%2") has all of it.', text, shown.runId)));
  } else if (leftOutCharacters > 0) {
    found.push(quiet(words.__('Long texts are cut in this copy; ja.open("%1") has all of them.', shown.runId)));
  }
  return found;
}

function quiet(text: string): INotice {
  return { level: 'quiet', text, mayRetry: false };
}

function warning(text: string): INotice {
  return { level: 'warning', text, mayRetry: false };
}
