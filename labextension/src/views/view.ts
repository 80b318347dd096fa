/** What a view of facts is to whoever puts it into a page: a widget, or the output of a saved notebook. */

import type { IDisposable } from '@lumino/disposable';

import type { IWords } from '../tokens';

/** Asks whoever tells the view; null where nobody does, as in a saved copy. */
export type Ask = ((command: object) => Promise<unknown>) | null;

/** Shows a run in a place of the page until what is returned is disposed. */
export type ShowRun = (runId: string, place: HTMLElement) => IDisposable;

/** What is open in a view, to be opened in the next one of the same. */
export interface IOpenedPlace {
  readonly number: number;
  readonly hasRun: boolean;
}

export interface IView extends IDisposable {
  readonly node: HTMLElement;

  /** Shows what was told, whatever it is. */
  show(told: unknown): void;

  /** Says what is wrong with whoever tells it; null where nothing is. */
  warn(trouble: string | null): void;

  /** Opens what was open before, where it can. */
  open?(place: IOpenedPlace): Promise<void>;
}

export interface IViewOptions {
  readonly words: IWords;
  readonly ask: Ask;

  /** Where the page has a gateway whose runs it can show. */
  readonly showRun?: ShowRun | null;
}
