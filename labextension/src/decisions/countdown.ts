/**
 * How long a decision may still take: calm in minutes, in seconds at the very end.
 *
 * It only tells. The server's clock and this page's may differ, so what the server says waits is taken to wait, whatever
 * the time, and no more is left than was given.
 */

import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';
import type { IWords } from '../tokens';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** What waits longer than this waits until somebody decides: nothing runs out. */
const FOREVER = 50 * 365 * 24 * HOUR;

export class Countdown implements IDisposable {
  /** `now` is the server's time, as far as it is known. */
  constructor(askedAt: string, expiresAt: string, now: number, words: IWords) {
    const until = Date.parse(expiresAt);
    this._words = words;
    this._left = Math.min(until - now, until - Date.parse(askedAt));
    this.node.setAttribute('role', 'timer');
    this.node.setAttribute('aria-live', 'off');
    if (this._left > FOREVER) {
      this.node.title = words.__('It waits until somebody decides.');
      return;
    }
    this.node.title = words.__('Without a decision the call is rejected at %1.', new Date(until).toLocaleTimeString());
    if (this._left > 0) {
      this._tick();
    } else {
      this.node.textContent = words.__('until %1', new Date(until).toLocaleTimeString());
    }
  }

  readonly node = element('span', 'jp-agent-Decision-timer');

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._timer);
  }

  private _tick(): void {
    const left = this._left - (performance.now() - this._began);
    if (left <= 0) {
      this.node.textContent = this._words.__('the time is about over');
      return;
    }
    const [step, text] = this._read(left);
    this.node.textContent = text;
    this.node.dataset.last = String(left <= MINUTE);
    this._timer = setTimeout(() => this._tick(), (left % step || step) + 5);
  }

  private _read(left: number): readonly [number, string] {
    if (left <= MINUTE) {
      return [SECOND, this._words.__('%1 s left', Math.ceil(left / SECOND))];
    }
    return left <= 2 * HOUR
      ? [MINUTE, this._words.__('%1 min left', Math.ceil(left / MINUTE))]
      : [HOUR, this._words.__('%1 h left', Math.round(left / HOUR))];
  }

  private readonly _words: IWords;
  private readonly _left: number;
  private readonly _began = performance.now();
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}
