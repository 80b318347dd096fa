/** What a view of facts is to whoever puts it into a page: a widget, or the output of a saved notebook. */

import type { IDisposable } from '@lumino/disposable';

import type { IWords } from '../tokens';

/** Asks whoever tells the view; null where nobody does, as in a saved copy. */
export type Ask = ((command: object) => Promise<unknown>) | null;

export interface IView extends IDisposable {
  readonly node: HTMLElement;

  /** Shows what was told, whatever it is. */
  show(told: unknown): void;

  /** Says what is wrong with whoever tells it; null where nothing is. */
  warn(trouble: string | null): void;
}

export interface IViewOptions {
  readonly words: IWords;
  readonly ask: Ask;
}
