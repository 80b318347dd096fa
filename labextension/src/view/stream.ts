/** The stream of a run: a long list that follows its end until the reader leaves it, with a way back. */

import { element } from '../content/element';
import type { CompactRun } from '../protocol';
import type { IGateway, IWords } from '../tokens';
import { isTerminal } from './figures';
import { type IScene, SlotView } from './items';
import { SlotList } from './list';
import { slotsOf } from './slots';

/** Nearer to its end than this, in pixels, it follows what comes. */
const NEAR_END = 48;

export class Stream {
  constructor(words: IWords, id: string) {
    this._scene = { words, gateway: null, opened: new Set(), isActive: false };
    this._scroller.id = id;
    this._scroller.tabIndex = 0;
    this._scroller.setAttribute('role', 'log');
    // Words that stream would be read out one by one: the view announces what matters.
    this._scroller.setAttribute('aria-live', 'off');
    this._scroller.setAttribute('aria-label', words.__('What the agent said and did'));
    this._scroller.addEventListener('scroll', () => this._onScroll(), { passive: true });
    this._jump.type = 'button';
    this._jump.hidden = true;
    this._jump.textContent = words.__('↓ Jump to latest');
    this._jump.setAttribute('aria-controls', id);
    this._jump.addEventListener('click', () => this._toEnd());
    this.node.append(this._scroller, this._jump);
    if (typeof ResizeObserver !== 'undefined') {
      // Pictures arrive later than the words around them.
      this._growth = new ResizeObserver(() => this._isAtEnd && this._toEnd());
    }
  }

  readonly node = element('div', 'jp-agent-Run-stream');

  /** Whether there is more than fits. */
  get isLong(): boolean {
    return this._scroller.scrollHeight > this._scroller.clientHeight + 1;
  }

  /** Shows the run; without a gateway there are no pictures, and nothing is going on. */
  update(run: CompactRun, gateway: IGateway | null): void {
    this._scene.isActive = gateway !== null && !isTerminal(run.status);
    if (!this._list || this._scene.gateway !== gateway) {
      this._scene.gateway = gateway;
      this._list?.dispose(); // what was made without a gateway lacks pictures and the rest of long results
      this._list = new SlotList(this._scroller, slot => new SlotView(slot, this._scene));
      this._scroller.append(this._list.node);
      this._growth?.disconnect();
      this._growth?.observe(this._list.node);
    }
    this._list.update(slotsOf(run));
    if (this._isAtEnd) {
      this._toEnd();
    } else {
      this._jump.hidden = false;
    }
  }

  dispose(): void {
    this._growth?.disconnect();
    this._list?.dispose();
    this.node.remove();
  }

  private _onScroll(): void {
    const { scrollHeight, scrollTop, clientHeight } = this._scroller;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END;
    // Only the reader leaves the end: what grows meanwhile does not.
    this._isAtEnd = isNear || (this._isAtEnd && scrollTop >= this._scrolledTo);
    this._scrolledTo = scrollTop;
    this._jump.hidden = this._isAtEnd;
  }

  private _toEnd(): void {
    this._isAtEnd = true;
    this._jump.hidden = true;
    this._scroller.scrollTop = this._scroller.scrollHeight;
  }

  private readonly _scene: { -readonly [K in keyof IScene]: IScene[K] };
  private readonly _scroller = element('div', 'jp-agent-Run-scroller');
  private readonly _jump = element('button', 'jp-agent-Run-jump');
  private readonly _growth: ResizeObserver | undefined;
  private _list: SlotList | undefined;
  private _isAtEnd = true;
  private _scrolledTo = 0;
}
