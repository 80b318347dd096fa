/**
 * A run that this page's server does not know, shown by the widget in the same output, if that is alive.
 *
 * The kernel may be connected to another server, and its widget tells what it sees there. A dead widget shows nothing.
 */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { IDisposable } from '@lumino/disposable';
import { PanelLayout, type Widget } from '@lumino/widgets';

export const VIEW_TYPE = 'application/vnd.jupyter.widget-view+json';

/** Milliseconds after which a widget that has not come is looked for again: a page's widgets come with its kernel. */
const DELAYS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000];

export class StandIn implements IDisposable {
  /** `shown` is called when there is a live widget in the host's place. */
  constructor(
    private readonly _host: Widget,
    private readonly _model: IRenderMime.IMimeModel,
    private readonly _shown: () => void,
    private readonly _delays: ReadonlyArray<number> = DELAYS
  ) {
    if (VIEW_TYPE in _model.data) {
      this._try(0);
    }
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._letGo();
    }
  }

  /** Looks for the widget. What does not find its kernel when it is made never does, so each time there is a new one. */
  private _try(count: number): void {
    this._letGo();
    const delay = this._delays[count];
    if (delay === undefined) {
      return;
    }
    this._timer = setTimeout(() => this._try(count + 1), delay);
    const registry = registryOf(this._host);
    if (registry?.mimeTypes.includes(VIEW_TYPE)) {
      this._place(registry.createRenderer(VIEW_TYPE));
    }
  }

  private _place(renderer: IRenderMime.IRenderer): void {
    this._renderer = renderer;
    renderer.hide();
    const layout = this._host.layout ?? (this._host.layout = new PanelLayout());
    (layout as PanelLayout).addWidget(renderer);
    this._observer = new MutationObserver(() => {
      if (renderer.node.querySelector('.jp-agent-Widget')) {
        this._observer?.disconnect();
        clearTimeout(this._timer);
        renderer.show();
        this._shown();
      }
    });
    this._observer.observe(renderer.node, { childList: true, subtree: true });
    void renderer.renderModel(this._model);
  }

  private _letGo(): void {
    clearTimeout(this._timer);
    this._observer?.disconnect();
    this._renderer?.dispose();
    this._renderer = null;
  }

  private _renderer: IRenderMime.IRenderer | null = null;
  private _observer: MutationObserver | null = null;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}

/** Returns the registry of whatever shows outputs around this one: there a notebook's or console's widgets are known. */
function registryOf(host: Widget): IRenderMimeRegistry | null {
  let around: (Widget & { readonly rendermime?: IRenderMimeRegistry }) | null = host.parent;
  while (around && !around.rendermime) {
    around = around.parent;
  }
  return around?.rendermime ?? null;
}
