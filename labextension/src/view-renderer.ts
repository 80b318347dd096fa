/**
 * Shows views of facts where outputs are shown: what the notebook kept of them, or their widget while it is alive.
 *
 * What an output holds is data of unknown origin, in a trusted notebook too: it is shown, and nothing in it is acted on.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { element, prose } from './content/element';
import { StandIn } from './stand-in';
import type { IWords } from './tokens';
import { type IView, makeView, VIEW_MIME } from './views';
import { fieldsOf, textOf } from './views/read';
import { isWithin } from './within';

/** More than this, in characters and values, was not kept by us, and would only make the page slow. */
const MOST = 1_000_000;
const MOST_TEXT = 20_000;

/** One output. It is rendered anew for every update of the same display. */
export class ViewRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(private readonly _words: IWords) {
    super();
    this.addClass('jp-agent-Output');
    this.node.dataset.mimeType = VIEW_MIME;
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    if (this.isDisposed) {
      return;
    }
    const kept = model.data[VIEW_MIME];
    const { kind } = fieldsOf(isWithin(kept, MOST) ? kept : null);
    const view = makeView(textOf(kind), { words: this._words, ask: null });
    if (!view) {
      return this._showText(model.data['text/plain']);
    }
    if (this._standIn && this._isLive) {
      view.dispose();
      return; // the widget shows what has changed
    }
    this._clear();
    this._view = view;
    this.node.append(view.node);
    view.show(kept);
    if (model.trusted) {
      this._standIn = new StandIn(this, model, () => {
        this._isLive = true;
        view.dispose();
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
  private _standIn: StandIn | null = null;
  private _isLive = false;
}
