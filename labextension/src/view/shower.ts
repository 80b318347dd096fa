/** Shows a run in place of whoever names it: a call of a workflow, say. Its thread is not continued from there. */

import { DisposableDelegate, type IDisposable } from '@lumino/disposable';

import type { IRuns, IWords } from '../tokens';
import { RunView } from './run-view';

/** The runs of a page, held for as long as one of them is shown. */
interface IHeld {
  readonly value: IRuns;
  dispose(): void;
}

/** Returns what shows a run in a place until the object that it returns is disposed. */
export function runShower(words: IWords, hold: () => IHeld): (runId: string, place: HTMLElement) => IDisposable {
  return (runId, place) => {
    const held = hold();
    const view = new RunView({ words, runId, runs: held.value, mayGoOn: false });
    place.append(view.node);
    return new DisposableDelegate(() => {
      view.dispose();
      view.node.remove();
      held.dispose();
    });
  };
}
