/**
 * A long list of which only what is near the reader is on the page.
 *
 * Every slot has a host that stays; what is in it is made when the host comes near and dropped when it is far, and the host
 * keeps its height meanwhile. Where the page cannot tell what is near (no IntersectionObserver), everything is made.
 */

import type { ISlot } from './slots';

/** How far beyond the visible part things are made, in pixels. */
const MARGIN = 900;

/** What a slot becomes on the page. */
export interface ISlotView {
  readonly node: HTMLElement;
  update(slot: ISlot): void;
  dispose(): void;
}

interface IPlace {
  readonly host: HTMLElement;
  slot: ISlot;
  view: ISlotView | null;
}

export class SlotList {
  constructor(scroller: HTMLElement, make: (slot: ISlot) => ISlotView) {
    this.node = document.createElement('div');
    this.node.className = 'jp-agent-Run-list';
    this._make = make;
    if (typeof IntersectionObserver !== 'undefined') {
      const margin = { root: scroller, rootMargin: `${MARGIN}px 0px` };
      this._observer = new IntersectionObserver(entries => this._onMoved(entries), margin);
    }
  }

  readonly node: HTMLElement;

  /** How many slots are on the page now, for tests. */
  get mounted(): number {
    return [...this._places.values()].filter(({ view }) => view !== null).length;
  }

  /** Shows these slots in this order. The last ones are made at once: they are what a reader of a live run sees. */
  update(slots: ReadonlyArray<ISlot>): void {
    const keys = new Set(slots.map(({ key }) => key));
    for (const [key, place] of this._places) {
      if (!keys.has(key)) {
        this._remove(key, place);
      }
    }
    let before: Element | null = this.node.firstElementChild;
    slots.forEach((slot, index) => {
      const place = this._places.get(slot.key) ?? this._add(slot);
      place.slot = slot;
      if (place.host !== before) {
        this.node.insertBefore(place.host, before);
      } else {
        before = place.host.nextElementSibling;
      }
      if (place.view) {
        place.view.update(slot);
      } else if (!this._observer || index >= slots.length - 2) {
        this._mount(place);
      }
    });
  }

  dispose(): void {
    this._observer?.disconnect();
    this._places.forEach(({ view }) => view?.dispose());
    this._places.clear();
    this.node.remove();
  }

  private _add(slot: ISlot): IPlace {
    const host = document.createElement('div');
    host.className = 'jp-agent-Run-slot';
    const place: IPlace = { host, slot, view: null };
    this._places.set(slot.key, place);
    this._hosts.set(host, place);
    this._observer?.observe(host);
    return place;
  }

  private _remove(key: string, place: IPlace): void {
    this._observer?.unobserve(place.host);
    place.view?.dispose();
    place.host.remove();
    this._places.delete(key);
  }

  private _mount(place: IPlace): void {
    place.view = this._make(place.slot);
    place.host.style.height = '';
    place.host.replaceChildren(place.view.node);
  }

  private _unmount(place: IPlace): void {
    place.host.style.height = `${place.host.offsetHeight}px`;
    place.view?.dispose();
    place.view = null;
    place.host.replaceChildren();
  }

  private _onMoved(entries: ReadonlyArray<IntersectionObserverEntry>): void {
    for (const { target, isIntersecting, rootBounds } of entries) {
      const place = this._hosts.get(target);
      if (!place || !rootBounds?.height) {
        continue; // the list itself is not on the screen: what is there stays
      }
      if (isIntersecting && !place.view) {
        this._mount(place);
      } else if (!isIntersecting && place.view && !place.host.contains(document.activeElement)) {
        this._unmount(place);
      }
    }
  }

  private readonly _make: (slot: ISlot) => ISlotView;
  private readonly _observer: IntersectionObserver | undefined;
  private readonly _places = new Map<string, IPlace>();
  private readonly _hosts = new WeakMap<Element, IPlace>();
}
