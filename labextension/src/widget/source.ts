/**
 * Who tells what a widget shows: the gateway of the page's own server if that is the one, else the kernel.
 *
 * Rules:
 * - No address comes from a widget's state: a page asks its own server, or nobody.
 * - Only what the server answers decides. Where it does not, or says that it is not well, it is asked again, less and less
 *   often, and the kernel tells meanwhile.
 */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { foundRuns, pageGateway } from '../gateway';
import { type ILookupTimes, Lookup } from '../lookup';
import { statusOf } from '../request';
import type { IGateway } from '../tokens';

export type Teller = IGateway['teller'];

/** Times, in milliseconds. */
export interface ISourceTimes extends ILookupTimes {
  /** For how long nobody tells while the first answer is waited for. */
  readonly patience: number;
}

export const SOURCE_TIMES: ISourceTimes = { patience: 2_000, firstDelay: 1_000, longestDelay: 60_000, answer: 30_000 };

/** There is no such run, no gateway, or none for this user. */
const NOT_HERE: ReadonlySet<number> = new Set([401, 403, 404]);

export interface IQuestion {
  /** What the page's server is asked for; null where there is nothing to ask. */
  readonly path: string | null;

  /** Whether what it answers makes it the one. */
  isOwn(answer: unknown): boolean;
}

export class Source implements IDisposable {
  constructor({ path, isOwn }: IQuestion, page: Document, times: Partial<ISourceTimes> = {}) {
    const all = { ...SOURCE_TIMES, ...times };
    const gateway = foundRuns()?.gateway ?? pageGateway(page);
    if (!gateway || path === null) {
      this._teller = 'kernel';
      return;
    }
    this._lookup = new Lookup<unknown>(
      path,
      gateway,
      all,
      answer => this._decide(isOwn(answer) ? 'gateway' : 'kernel'),
      fault => this._onFault(fault)
    );
    this._impatience = setTimeout(() => this._enter('kernel'), all.patience);
    void this._lookup.ask();
  }

  /** Null while that is not known yet. */
  get teller(): Teller | null {
    return this._teller;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Somebody looks: what is not decided is asked for. */
  wake(): void {
    if (this._isResting) {
      this._isResting = false;
      void this._lookup?.ask();
    }
  }

  /** Nobody looks, so nobody is asked. */
  rest(): void {
    this._isResting = true;
    this._lookup?.stop();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      clearTimeout(this._impatience);
      this._lookup?.stop();
      Signal.clearData(this);
    }
  }

  private _onFault(fault: unknown): void {
    if (NOT_HERE.has(statusOf(fault) ?? 0)) {
      this._decide('kernel');
    } else {
      this._enter('kernel');
      this._lookup?.later();
    }
  }

  private _decide(teller: Teller): void {
    this._lookup?.stop();
    this._lookup = null;
    this._enter(teller);
  }

  private _enter(teller: Teller): void {
    clearTimeout(this._impatience);
    if (teller !== this._teller) {
      this._teller = teller;
      this._changed.emit();
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private _lookup: Lookup<unknown> | null = null;
  private _teller: Teller | null = null;
  private _impatience: ReturnType<typeof setTimeout> | undefined;
  private _isResting = false;
  private _isDisposed = false;
}
