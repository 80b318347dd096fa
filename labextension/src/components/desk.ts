/** Everything of one's own that waits for a person, put to them one after another, and what they decide carried out. */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import type { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Ending, Waiting, WaitingModel } from '../model';
import type { Approval, InputNeeded } from '../protocol';
import { type IPage, RequestFailed, request } from '../request';
import type { IActivity } from '../tokens';
import { type AnswerDialog, ApprovalBody, approvalDialog, type Choice, QuestionBody, questionDialog } from './answer';

export class Desk {
  constructor(
    private readonly _model: WaitingModel,
    private readonly _activity: IActivity,
    private readonly _settings: ServerConnection.ISettings,
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
    try {
      return await (item.kind === 'approval' ? this._decide(item) : this._answer(item));
    } catch (fault) {
      const message = fault instanceof Error ? fault.message : String(fault);
      await showErrorMessage(this._trans.__('This was not carried out'), message);
      return true;
    }
  }

  private async _decide(item: Waiting): Promise<boolean> {
    const approval = await this._approval(item.id);
    const body = new ApprovalBody(approval, this._trans);
    const choice = await this._ask(item, approvalDialog(approval, body, this._trans));
    if (choice === 'accept' || choice === 'reject') {
      const approved = choice === 'accept';
      await this._send(`approvals/${item.id}`, approved || !body.text ? { approved } : { approved, reason: body.text });
    }
    return choice !== 'stop';
  }

  private async _answer(item: Waiting): Promise<boolean> {
    const { items = [] }: IPage<InputNeeded> = await request(`runs/${item.runId}/inputs`, this._settings);
    const asked = items.find(({ requestId }) => requestId === item.id);
    if (!asked) {
      throw new Error(this._trans.__('The question was answered elsewhere meanwhile.'));
    }
    const body = new QuestionBody(asked, this._trans);
    const choice = await this._ask(item, questionDialog(body, this._trans));
    if (choice === 'accept') {
      await this._send(`runs/${item.runId}/inputs/${item.id}`, { content: body.text });
    }
    return choice !== 'stop';
  }

  /** Returns the server's record, with the whole picture: one that is too long for the record is kept beside it. */
  private async _approval(id: string): Promise<Approval> {
    const approval: Approval = await request(`approvals/${id}`, this._settings);
    if (approval.decision) {
      throw new Error(this._farewell(approval.decision));
    }
    const { blob, hash, shortened } = approval.preview;
    if (typeof blob !== 'string' || shortened === undefined) {
      return approval;
    }
    const preview: Approval['preview'] | undefined = await request(`blobs/${blob}`, this._settings);
    if (!preview || preview.hash !== hash) {
      throw new Error(
        this._trans.__('The server does not show all of what the call would do, so it cannot be approved.')
      );
    }
    return { ...approval, preview };
  }

  /** Launches the dialog; it ends when somebody else is quicker. */
  private async _ask(item: Waiting, dialog: AnswerDialog): Promise<Choice> {
    const onEnded = (_: WaitingModel, [{ id }, ending]: readonly [Waiting, Ending]): void => {
      if (id === item.id) {
        dialog.end(this._farewell(ending));
      }
    };
    this._model.ended.connect(onEnded);
    try {
      return await dialog.ask();
    } finally {
      this._model.ended.disconnect(onEnded);
    }
  }

  private async _send(path: string, body: object): Promise<void> {
    try {
      await request(path, this._settings, { method: 'POST', body: JSON.stringify(body) });
    } catch (fault) {
      throw fault instanceof RequestFailed ? fault : new Error(this._lost(fault));
    }
  }

  private _lost(fault: unknown): string {
    const why = fault instanceof Error ? fault.message : String(fault);
    return this._trans.__('The server did not answer, so it still waits, or not: look again. (%1)', why);
  }

  private _farewell(ending: Ending): string {
    const trans = this._trans;
    const words: Record<Ending, string> = {
      approve: trans.__('It was approved elsewhere meanwhile.'),
      edit: trans.__('It was approved elsewhere meanwhile, with other arguments.'),
      reject: trans.__('It was rejected elsewhere meanwhile.'),
      expired: trans.__('Nobody decided in time, so the call was rejected.'),
      answered: trans.__('The question was answered elsewhere meanwhile.'),
      unanswered: trans.__('Nobody answered in time: the agent goes on without an answer.'),
      over: trans.__('The run is over, so nothing waits here any more.')
    };
    return words[ending];
  }

  private readonly _shown = new Signal<this, Waiting>(this);
  private _isOpen = false;
}
