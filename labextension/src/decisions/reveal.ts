/**
 * Knows when a person may have seen all of something: each of its marks has been in view at some time, and its end for half
 * a second without a break.
 *
 * In view means in the window and in everything between that scrolls or clips: the browser says so, and where it cannot,
 * nothing was ever seen.
 */

import type { IDisposable } from '@lumino/disposable';

/** How long the end must be in view, in milliseconds. */
export const ARMING = 500;

/** How much of a mark must be in view: not all, since a page's zoom makes fractions of pixels. */
const ENOUGH = 0.9;

export class Reveal implements IDisposable {
  constructor(marks: ReadonlyArray<Element>, end: Element, changed: () => void) {
    this._unseen = new Set(marks);
    this._end = end;
    this._changed = changed;
    if (typeof IntersectionObserver !== 'undefined') {
      this._observer = new IntersectionObserver(entries => this._onMoved(entries), { threshold: ENOUGH });
      [...marks, end].forEach(mark => this._observer?.observe(mark));
    }
  }

  /** Whether all of it was shown. */
  get isWhole(): boolean {
    return this._isWhole;
  }

  /** The first part that was passed over, once the end is in view; else null. */
  get passedOver(): Element | null {
    return this._isEndInView ? ([...this._unseen][0] ?? null) : null;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._observer?.disconnect();
    clearTimeout(this._arming);
  }

  private _onMoved(entries: ReadonlyArray<IntersectionObserverEntry>): void {
    for (const { target, intersectionRatio } of entries) {
      const isInView = intersectionRatio >= ENOUGH;
      if (target === this._end) {
        this._isEndInView = isInView;
      } else if (isInView) {
        this._unseen.delete(target);
        this._observer?.unobserve(target);
      }
    }
    if (!this._isEndInView || this._unseen.size > 0) {
      clearTimeout(this._arming);
      this._arming = undefined;
    } else {
      this._arming ??= setTimeout(() => this._finish(), ARMING);
    }
    this._changed();
  }

  private _finish(): void {
    this._isWhole = true;
    this._observer?.disconnect();
    this._changed();
  }

  private readonly _unseen: Set<Element>;
  private readonly _end: Element;
  private readonly _changed: () => void;
  private readonly _observer: IntersectionObserver | undefined;
  private _arming: ReturnType<typeof setTimeout> | undefined;
  private _isEndInView = false;
  private _isWhole = false;
  private _isDisposed = false;
}
