/** Everything of one's own that waits for a person, put to them one after another. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';

import { ApprovalCard } from '../decisions/approval';
import type { Card } from '../decisions/card';
import { farewell } from '../decisions/endings';
import { QuestionCard } from '../decisions/question';
import type { IActivity, IRunModel, IRuns } from '../tokens';
import type { Ending, Waiting, WaitingModel } from '../waiting';
import { AnswerDialog } from './answer';

export class Desk {
  constructor(
    private readonly _model: WaitingModel,
    private readonly _activity: IActivity,
    private readonly _runs: IRuns,
    private readonly _trans: TranslationBundle
  ) {}

  /** Something is being put to the person. */
  get shown(): ISignal<this, Waiting> {
    return this._shown;
  }

  /** Puts everything that waits to the person, the one with this id first. Does nothing while that goes on. */
  async open(first?: string): Promise<void> {
    if (this._isOpen) {
      return;
    }
    this._isOpen = true;
    const put = new Set<string>();
    try {
      let item = this._next(put, first);
      if (!item) {
        await this._sayNothing();
      }
      while (item && (await this._put(item))) {
        put.add(item.id);
        item = this._next(put);
      }
    } finally {
      this._isOpen = false;
    }
  }

  private _next(put: ReadonlySet<string>, first?: string): Waiting | undefined {
    const open = this._model.items.filter(({ id }) => !put.has(id));
    return open.find(({ id }) => id === first) ?? open[0];
  }

  private async _sayNothing(): Promise<void> {
    const { fault, isCurrent, waiting } = this._activity;
    let body = this._trans.__('Nothing waits for you.');
    if (!isCurrent) {
      body = fault ?? this._trans.__('The agent gateway of this server cannot be reached at the moment.');
    } else if (waiting > 0) {
      body = this._trans.__('What waits for you is still on its way: try again in a moment.');
    }
    await showDialog({ title: this._trans.__('Agent'), body, buttons: [Dialog.okButton()] });
  }

  /** Returns whether to go on with the next. */
  private async _put(item: Waiting): Promise<boolean> {
    this._shown.emit(item);
    const run = this._runs.open(item.runId);
    try {
      const card = this._card(item, run);
      return card === null || (await this._ask(item, card));
    } finally {
      run.dispose();
    }
  }

  /** Returns the card of what waits, null where it does not any more. */
  private _card({ kind, id }: Waiting, run: IRunModel): Card | null {
    const options = { words: this._trans, gateway: run.gateway };
    const { approvals = [], inputs = [] } = run.transcript ?? {};
    if (kind === 'approval') {
      const approval = approvals.find(({ approvalId }) => approvalId === id);
      return approval ? new ApprovalCard(approval, { ...options, decide: decision => run.decide(id, decision) }) : null;
    }
    const asked = inputs.find(({ requestId }) => requestId === id);
    return asked ? new QuestionCard(asked, { ...options, answer: content => run.answer(id, content) }) : null;
  }

  /** The card ends when somebody else is quicker. */
  private async _ask(item: Waiting, card: Card): Promise<boolean> {
    const onEnded = (_: WaitingModel, [{ id }, ending]: readonly [Waiting, Ending]): void => {
      if (id === item.id) {
        card.end(farewell(ending, this._trans));
      }
    };
    this._model.ended.connect(onEnded);
    try {
      return (await new AnswerDialog(card, item.runId, this._trans).ask()) !== 'stop';
    } finally {
      this._model.ended.disconnect(onEnded);
    }
  }

  private readonly _shown = new Signal<this, Waiting>(this);
  private _isOpen = false;
}
