/**
 * Shows views of facts where outputs are shown: what the notebook kept of them, or their widget while it is alive.
 *
 * What an output holds is data of unknown origin, in a trusted notebook too: it is shown, and nothing in it is acted on.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { element, prose } from './content/element';
import { StandIn, VIEW_TYPE } from './stand-in';
import type { IWords } from './tokens';
import { isViewKind, type IView, makeView, openedIn, type ShowRun, VIEW_MIME } from './views';
import { fieldsOf, textOf } from './views/read';
import { isWithin } from './within';

/** More than this, in characters and values, was not kept by us, and would only make the page slow. */
const MOST = 1_000_000;
const MOST_TEXT = 20_000;

/** One output. Updates of the same display are shown by the same view, and by its widget for as long as it has one. */
export class ViewRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(
    private readonly _words: IWords,
    private readonly _showRun: ShowRun | null = null
  ) {
    super();
    this.addClass('jp-agent-Output');
    this.node.dataset.mimeType = VIEW_MIME;
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    if (this.isDisposed) {
      return;
    }
    const kept = model.data[VIEW_MIME];
    const kind = textOf(fieldsOf(isWithin(kept, MOST) ? kept : null).kind);
    if (!isViewKind(kind)) {
      return this._showText(model.data['text/plain']);
    }
    const hasWidget = VIEW_TYPE in model.data;
    if (this._isLive && hasWidget) {
      return; // the widget shows what has changed
    }
    if (this._view === null || this._kind !== kind) {
      // The widget has gone, and what somebody looks at in it stays open.
      const opened = this._isLive ? openedIn(this.node) : null;
      this._clear();
      this._kind = kind;
      this._view = makeView(kind, { words: this._words, ask: null, showRun: this._showRun });
      this.node.append(...(this._view ? [this._view.node] : []));
      this._view?.show(kept);
      void (opened && this._view?.open?.(opened));
    } else {
      this._view.show(kept);
    }
    this._standIn?.dispose();
    this._standIn = null;
    if (model.trusted && hasWidget) {
      this._standIn = new StandIn(this, model, () => {
        this._isLive = true;
        this._view?.dispose();
        this._view = null;
      });
    }
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._clear();
      super.dispose();
    }
  }

  /** What cannot be read as a view is shown as the text that came along. */
  private _showText(text: unknown): void {
    this._clear();
    const said = this._words.__(
      'A view was kept here, but it cannot be read: it is damaged, or of another version of jupyter_agent.'
    );
    this.node.append(element('p', 'jp-agent-Output-fault', said));
    const plain = Array.isArray(text) ? text.join('') : text;
    if (typeof plain === 'string' && plain) {
      this.node.append(prose('pre', 'jp-agent-Output-text', plain.slice(0, MOST_TEXT)));
    }
  }

  private _clear(): void {
    this._standIn?.dispose();
    this._standIn = null;
    this._isLive = false;
    this._view?.dispose();
    this._view = null;
    this.node.replaceChildren();
  }

  private _view: IView | null = null;
  private _kind = '';
  private _standIn: StandIn | null = null;
  private _isLive = false;
}
