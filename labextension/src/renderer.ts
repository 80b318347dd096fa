/**
 * Shows runs where outputs are shown: the renderer of their MIME type.
 *
 * Rules:
 * - What an output holds is data of unknown origin, in a trusted notebook too: it is shown, and nothing in it is acted on.
 * - An output is changed through its model alone, and only to hold the run as it ended, as this page's server tells it.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { element, prose } from './content/element';
import { type Keeper, MIME_TYPE, runIdOf } from './keeper';
import { StandIn } from './stand-in';
import type { IRunModel, IRuns, IWords } from './tokens';
import { RunView } from './view/run-view';
import { isWithin } from './within';

/** Runs come before the same as HTML (50), and before widgets (-10), which are dead where their kernel is. */
export const RANK = -20;

/** More than this, in characters and values, was not kept by us, and would only make the page slow. */
const MOST = 1_000_000;

/** Characters that are shown of an output which cannot be read. */
const MOST_TEXT = 20_000;

export interface IRunRendererOptions {
  readonly words: IWords;

  /** Null where there is no gateway. */
  readonly runs: IRuns | null;
  readonly keeper: Keeper | null;
}

/** One output. It is rendered anew for every update of the same display. */
export class RunRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(options: IRunRendererOptions) {
    super();
    this._options = options;
    this.addClass('jp-agent-Output');
    this.node.dataset.mimeType = MIME_TYPE;
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    if (this.isDisposed) {
      return;
    }
    this._model = model;
    const { data } = model;
    const kept = data[MIME_TYPE];
    const runId = runIdOf(kept);
    if (runId === null) {
      return this._showText(data['text/plain']);
    }
    const saved = isWithin(kept, MOST) ? kept : undefined;
    if (this._view && this._runId === runId) {
      this._view.show(saved);
    } else {
      this._showRun(runId, saved);
    }
    this._keep();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._clear();
      this._model = null;
      super.dispose();
    }
  }

  private _showRun(runId: string, saved: unknown): void {
    this._clear();
    const { words, runs } = this._options;
    const view = new RunView({ words, runId, runs, saved });
    this._view = view;
    this._runId = runId;
    view.ended.connect(this._keep, this);
    view.model?.changed.connect(this._onRun, this);
    this.node.append(view.node);
  }

  /** What cannot be read as a run is shown as the text that came along. */
  private _showText(text: unknown): void {
    this._clear();
    const { words } = this._options;
    const said = words.__(
      'An agent run was kept here, but it cannot be read: it is damaged, or not made by jupyter_agent.'
    );
    this.node.append(element('p', 'jp-agent-Output-fault', said));
    const plain = Array.isArray(text) ? text.join('') : text;
    if (typeof plain === 'string' && plain) {
      this.node.append(prose('pre', 'jp-agent-Output-text', plain.slice(0, MOST_TEXT)));
    }
  }

  /** A run that is not here may be where the kernel is connected; its widget shows it, where widgets are trusted. */
  private _onRun(run: IRunModel): void {
    const [view, model] = [this._view, this._model];
    if (run.state === 'absent' && view && model?.trusted) {
      this._standIn ??= new StandIn(this, model, () => {
        view.node.hidden = true;
      });
    }
  }

  /** Once the run is over here, its output is to hold it as it ended. */
  private _keep(): void {
    const { keeper } = this._options;
    if (keeper && this._view?.model?.state === 'ended') {
      this._keeping ??= keeper.keep(this._runId, () => this._model);
    }
  }

  private _clear(): void {
    this._keeping?.dispose();
    this._keeping = null;
    this._standIn?.dispose();
    this._standIn = null;
    this._view?.dispose();
    this._view = null;
    this._runId = '';
    this.node.replaceChildren();
  }

  private readonly _options: IRunRendererOptions;
  private _model: IRenderMime.IMimeModel | null = null;
  private _view: RunView | null = null;
  private _standIn: StandIn | null = null;
  private _runId = '';
  private _keeping: ReturnType<Keeper['keep']> | null = null;
}
