/** The widget of a view of facts: its kernel tells it, unasked what is shown, and when it is asked the rest. */

import type { IDisposable } from '@lumino/disposable';

import { foundRuns, pageGateway } from '../gateway';
import { runShower } from '../view/shower';
import { type IView, makeView } from '../views';
import { holdRuns } from './held';
import { type ILinkTimes, type ISaid, type IWidgetModel, KernelLink } from './link';
import { type IPlacesTimes, PLACES_TIMES } from './places';
import { words } from './words';

export class ViewWidget implements IDisposable {
  constructor(model: IWidgetModel, times: Partial<IPlacesTimes & ILinkTimes> = {}) {
    this._kind = String(model.get('_kind'));
    this._times = { ...PLACES_TIMES, ...times };
    this._link = new KernelLink(model, times);
    this._link.said.connect(this._onSaid, this);
    this._link.changed.connect(this._warn, this);
    this._leaveAfter(this._times.unshown);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Shows it in a place until the returned function is called. */
  render(place: HTMLElement): () => void {
    clearTimeout(this._leaving);
    this._link.resume();
    const ask = async (command: object): Promise<unknown> => (await this._link.ask({ ask: 'command', command }))[0];
    const hasRuns = Boolean(foundRuns() ?? pageGateway(document));
    const showRun = hasRuns ? runShower(words, () => holdRuns(document)) : null;
    const view = makeView(this._kind, { words, ask, showRun });
    if (!view) {
      return () => undefined;
    }
    this._views.add(view);
    place.append(view.node);
    if (this._told === undefined) {
      this._link.askForAll();
    } else {
      view.show(this._told);
    }
    this._warn();
    return () => {
      this._views.delete(view);
      view.dispose();
      if (this._views.size === 0) {
        this._leaveAfter(this._times.linger);
      }
    };
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      clearTimeout(this._leaving);
      this._views.forEach(view => view.dispose());
      this._views.clear();
      this._link.dispose();
      this._told = undefined;
    }
  }

  private _onSaid(link: KernelLink, { type, text, isNext, isFinal, reason = null }: ISaid): void {
    if (type !== 'view') {
      return;
    }
    this._reason = reason;
    if (text) {
      this._told = JSON.parse(text) as unknown;
      this._views.forEach(view => view.show(this._told));
    } else if (!isNext) {
      link.askForAll();
    }
    if (isFinal) {
      link.expectNothing();
    }
    this._warn();
  }

  private _warn(): void {
    this._views.forEach(view => view.warn(this._link.trouble ?? this._reason));
  }

  /** Nobody looks: after a while the kernel is told to be quiet, and what it told is forgotten. */
  private _leaveAfter(delay: number): void {
    clearTimeout(this._leaving);
    if (!this._isDisposed) {
      this._leaving = setTimeout(() => {
        this._link.pause();
        this._told = undefined;
      }, delay);
    }
  }

  private readonly _kind: string;
  private readonly _times: IPlacesTimes;
  private readonly _link: KernelLink;
  private readonly _views = new Set<IView>();
  private _told: unknown;
  private _reason: string | null = null;
  private _leaving: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}
