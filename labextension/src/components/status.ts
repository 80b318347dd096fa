/** The status-bar item: how many runs are working, and how many wait for you. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { ActivityModel } from '../model';

export class StatusItem extends Widget {
  constructor(model: ActivityModel, trans: TranslationBundle) {
    super();
    this.addClass('jp-agent-Status');
    this.node.setAttribute('role', 'status');
    this._model = model;
    this._trans = trans;
    model.changed.connect(this._show, this);
    this._show();
  }

  private _show(): void {
    const { fault, isCurrent, running, waiting } = this._model;
    this.node.textContent = isCurrent
      ? this._trans.__('Agent: %1 running · %2 waiting', running, waiting)
      : this._trans.__('Agent: offline');
    this.node.title = isCurrent
      ? this._trans.__('Agent runs that are working, and runs that wait for you')
      : (fault ?? this._trans.__('Connecting to the agent gateway of this server…'));
    this.node.dataset.waiting = String(isCurrent && waiting > 0);
  }

  private readonly _model: ActivityModel;
  private readonly _trans: TranslationBundle;
}
