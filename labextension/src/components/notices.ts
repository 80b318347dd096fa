/** Tells of everything that starts to wait for the person, once. No word of a model is in it. */

import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { isGate, wants } from '../decisions/picture';
import type { Waiting, WaitingModel } from '../waiting';
import type { Desk } from './desk';

export class Notices {
  constructor(model: WaitingModel, desk: Desk, trans: TranslationBundle, answer: (id: string) => void) {
    this._model = model;
    this._trans = trans;
    this._answer = answer;
    model.changed.connect(this._tell, this);
    model.ended.connect((_, [{ id }]) => this._dismiss(id));
    desk.shown.connect((_, { id }) => this._dismiss(id));
    this._tell();
  }

  private _tell(): void {
    for (const item of this._model.items) {
      if (!this._told.has(item.id)) {
        const options: Notification.IOptions<null> = {
          autoClose: false,
          actions: [{ label: this._trans.__('Answer'), displayType: 'accent', callback: () => this._answer(item.id) }]
        };
        this._told.set(item.id, Notification.info(this._words(item), options));
      }
    }
  }

  private _dismiss(id: string): void {
    const notice = this._told.get(id);
    if (notice) {
      Notification.dismiss(notice);
    }
  }

  private _words(item: Waiting): string {
    if (item.kind !== 'approval') {
      return this._trans.__('The agent asks you a question and waits for the answer.');
    }
    const asked = wants(item.toolName, item.effects, this._trans);
    return isGate(item.toolName, item.effects)
      ? this._trans.__('%1, and waits for it.', asked)
      : this._trans.__('%1: the agent waits for your approval.', asked);
  }

  private readonly _model: WaitingModel;
  private readonly _trans: TranslationBundle;
  private readonly _answer: (id: string) => void;
  private readonly _told = new Map<string, string>();
}
