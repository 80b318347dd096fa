/** A picture that a tool made: small at first, loaded when it comes near, in full size when it is pressed. */

import type { IGateway, IWords } from '../tokens';
import { element } from './element';

/** What a browser is told that a picture is; anything else is not shown. */
const PIXELS: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

/**
 * Drawings run nothing and load nothing as an image. Opened apart by the browser's menu they are a page: from a `blob:`
 * address one of this origin, from a `data:` address one of no origin at all.
 */
const DRAWING = 'image/svg+xml';
const LARGEST_DRAWING = 5_000_000;

/** How near the viewport a picture is loaded. */
const NEAR = '400px';

export class Picture {
  constructor(
    private readonly _gateway: IGateway,
    private readonly _digest: string,
    private readonly _mime: string,
    private readonly _words: IWords
  ) {
    if (!PIXELS.has(_mime) && _mime !== DRAWING) {
      this._say(_words.__('A picture of this kind (%1) cannot be shown.', _mime));
      return;
    }
    this._button.type = 'button';
    this._button.title = _words.__('Show in full size');
    this._button.setAttribute('aria-expanded', 'false');
    this._button.setAttribute('aria-label', this._alt);
    this._button.addEventListener('click', () => this._toggle());
    this.node.append(this._button);
    this._wait();
  }

  readonly node = element('div', 'jp-agent-Image-frame');

  dispose(): void {
    this._isDisposed = true;
    this._observer?.disconnect();
    if (this._url) {
      URL.revokeObjectURL(this._url);
      this._url = '';
    }
  }

  private _wait(): void {
    if (typeof IntersectionObserver === 'undefined') {
      void this._load();
      return;
    }
    this._observer = new IntersectionObserver(
      entries => {
        if (entries.some(entry => entry.isIntersecting)) {
          this._observer?.disconnect();
          void this._load();
        }
      },
      { rootMargin: NEAR }
    );
    this._observer.observe(this.node);
  }

  private async _load(): Promise<void> {
    let source: string;
    try {
      source = await this._source(await this._gateway.blob(this._digest));
    } catch (fault) {
      const why = fault instanceof Error ? fault.message : String(fault);
      this._say(this._words.__('The picture could not be loaded: %1', why));
      return;
    }
    if (this._isDisposed) {
      this.dispose();
      return;
    }
    const image = element('img', 'jp-agent-Image-image');
    image.alt = this._alt;
    image.addEventListener('error', () => this._say(this._words.__('What came is no picture that can be shown.')));
    image.src = source;
    this._button.replaceChildren(image);
  }

  private async _source(blob: Blob): Promise<string> {
    if (this._mime !== DRAWING) {
      this._url = URL.createObjectURL(new Blob([blob], { type: this._mime }));
      return this._url;
    }
    if (blob.size > LARGEST_DRAWING) {
      throw new Error(this._words.__('It is a drawing of %1 MB.', Math.round(blob.size / 1_000_000)));
    }
    return `data:${DRAWING};charset=utf-8,${encodeURIComponent(await blob.text())}`;
  }

  private _toggle(): void {
    const isFull = this._button.getAttribute('aria-expanded') !== 'true';
    this._button.setAttribute('aria-expanded', String(isFull));
    this._button.title = isFull ? this._words.__('Show small') : this._words.__('Show in full size');
  }

  private _say(text: string): void {
    this.node.replaceChildren(element('div', 'jp-agent-Image-fault', text));
  }

  private get _alt(): string {
    return this._words.__('Picture made by the tool (%1)', this._mime.replace(/^image\/|\+xml$/g, '').toUpperCase());
  }

  private readonly _button = element('button', 'jp-agent-Image-button');
  private _observer: IntersectionObserver | null = null;
  private _url = '';
  private _isDisposed = false;
}
