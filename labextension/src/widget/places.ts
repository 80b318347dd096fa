/**
 * A widget in its places, told by the gateway or by the kernel.
 *
 * Rules:
 * - Who tells may change while it is shown: then every place is drawn anew.
 * - What nobody looks at is not followed: a moment after the last place is gone nothing is held, and the kernel is told
 *   that it need not speak.
 */

import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';
import type { CommGateway } from './comm';
import type { Source } from './source';

/** What is told, from one side. */
export interface ITold {
  /** Shows it in a place until the returned object is disposed. */
  show(place: HTMLElement): IDisposable;

  /** Lets go of everything. */
  end(): void;
}

/** Times, in milliseconds. */
export interface IPlacesTimes {
  /** For how long it is followed without a place: a cell that is moved or executed again takes its place along. */
  readonly linger: number;
  /** The same before the first place has come. */
  readonly unshown: number;
}

export const PLACES_TIMES: IPlacesTimes = { linger: 1_000, unshown: 60_000 };

export abstract class Places implements IDisposable {
  constructor(
    protected readonly comm: CommGateway,
    private readonly _source: Source,
    private readonly _times: IPlacesTimes
  ) {
    _source.changed.connect(this._onSource, this);
    this._leaveAfter(_times.unshown);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Shows it in a place until the returned function is called. */
  render(place: HTMLElement): () => void {
    clearTimeout(this._leaving);
    this._source.wake();
    this._draw(place);
    return () => {
      this._places.get(place)?.dispose();
      this._places.delete(place);
      if (this._places.size === 0) {
        this._leaveAfter(this._times.linger);
      }
    };
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      clearTimeout(this._leaving);
      this._source.dispose();
      this.comm.connection.dispose();
      this._places.forEach(shown => shown.dispose());
      this._places.clear();
      this._told?.end();
    }
  }

  /** Begins to follow it, here or there. */
  protected abstract fromGateway(): ITold;
  protected abstract fromKernel(): ITold;

  /** What is said while it is not known yet who tells. */
  protected abstract before(): string;

  private _onSource(): void {
    const before = this._told;
    this._told = null;
    [...this._places.keys()].forEach(place => this._draw(place));
    before?.end();
    if (this._source.teller === 'gateway') {
      this.comm.link.rest();
      this.comm.connection.dispose();
    }
  }

  private _draw(place: HTMLElement): void {
    this._places.get(place)?.dispose();
    const { teller } = this._source;
    if (teller !== null) {
      this._told ??= teller === 'gateway' ? this.fromGateway() : this.fromKernel();
    }
    this._places.set(place, this._told?.show(place) ?? seen(place, this.before()));
  }

  private _leaveAfter(delay: number): void {
    clearTimeout(this._leaving);
    if (!this._isDisposed) {
      this._leaving = setTimeout(() => this._leave(), delay);
    }
  }

  private _leave(): void {
    this._source.rest();
    this._told?.end();
    this._told = null;
    this.comm.pause();
  }

  private readonly _places = new Map<HTMLElement, IDisposable>();
  private _told: ITold | null = null;
  private _leaving: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}

/** Says something in a place, in one line. */
export function seen(place: HTMLElement, text: string): IDisposable & { readonly line: HTMLElement } {
  const line = element('div', 'jp-agent-Widget-seen', text);
  place.append(line);
  return {
    line,
    get isDisposed(): boolean {
      return !line.isConnected;
    },
    dispose: () => line.remove()
  };
}
