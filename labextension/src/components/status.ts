/** The status-bar item: how many runs are working, and how many wait for you; a click answers what waits. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { IActivity } from '../tokens';

export class StatusItem extends Widget {
  constructor(activity: IActivity, trans: TranslationBundle, answer: () => void) {
    super();
    this.addClass('jp-agent-Status');
    this.node.setAttribute('role', 'status');
    this._button.type = 'button';
    this._button.addEventListener('click', answer);
    this.node.append(this._button);
    this._activity = activity;
    this._trans = trans;
    activity.changed.connect(this._show, this);
    this._show();
  }

  private _show(): void {
    const { fault, isCurrent, running, waiting } = this._activity;
    this._button.textContent = isCurrent
      ? this._trans.__('Agent: %1 running · %2 waiting', running, waiting)
      : this._trans.__('Agent: offline');
    this.node.title = isCurrent
      ? this._trans.__('Agent runs that are working, and runs that wait for you: click to answer')
      : (fault ?? this._trans.__('Connecting to the agent gateway of this server…'));
    this.node.dataset.waiting = String(isCurrent && waiting > 0);
  }

  private readonly _button = document.createElement('button');
  private readonly _activity: IActivity;
  private readonly _trans: TranslationBundle;
}
