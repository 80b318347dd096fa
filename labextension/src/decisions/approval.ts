/**
 * A tool call that waits for a person: what exactly it will do, and the decision.
 *
 * Rules: shown is the server's own picture, all of it, never a model's words about it. Approving can be done only after
 * all of it was in view, never by Enter, and nothing has the focus that would do it. A picture that is not whole cannot be
 * approved.
 */

import { element } from '../content/element';
import type { Approval, Effect } from '../protocol';
import type { IDecision, IGateway, IWords } from '../tokens';
import { type Arguments, ArgumentsForm } from './arguments';
import { Card } from './card';
import { Countdown } from './countdown';
import { isObject, picture, wants } from './picture';
import { Reveal } from './reveal';

/** As the gateway has it. */
const MOST_REASON = 4_000;

export interface IApprovalOptions {
  readonly words: IWords;
  readonly gateway: Pick<IGateway, 'mayDecide' | 'blob' | 'now'>;

  /** Settles when the gateway has taken the decision; a rejection says why it has not. */
  readonly decide: (decision: IDecision) => Promise<void>;
}

type Mode = 'look' | 'edit' | 'reject';

export class ApprovalCard extends Card {
  constructor(approval: Approval, options: IApprovalOptions) {
    super('approval', wants(approval.toolName, approval.effects, options.words), options.words);
    this._approval = approval;
    this._options = options;
    const { words } = options;
    this._timer = new Countdown(approval.askedAt, approval.expiresAt, options.gateway.now, words);
    this.head.append(this._timer.node);
    this._scroller.tabIndex = 0;
    this._scroller.setAttribute('role', 'group');
    this._scroller.setAttribute('aria-label', words.__('What the call will do'));
    this.body.append(this._scroller);
    if (options.gateway.mayDecide) {
      this._addControls();
    } else {
      this.say(words.__('Answer it in JupyterLab, or in a terminal with: jupyter agent approve'));
    }
    void this._show();
  }

  override dispose(): void {
    this.onOver();
    super.dispose();
  }

  override back(): boolean {
    if (this._mode === 'look' || !this.isOpen) {
      return false;
    }
    const opener = this._mode === 'edit' ? this._edit : this._reject;
    this._setMode('look');
    opener.focus();
    return true;
  }

  protected override onOver(): void {
    this._timer.dispose();
    this._reveal?.dispose();
  }

  // --- the picture ------------------------------------------------------------------------------------------------

  /** Shows all of the picture, or says why it cannot. */
  private async _show(): Promise<void> {
    try {
      const whole = isShortened(this._approval) ? await this._fetchWhole() : this._approval;
      if (this.isDisposed || this.isOver) {
        return;
      }
      const { node, marks } = picture(whole, this.words);
      const end = element('div', 'jp-agent-Decision-end');
      this._scroller.replaceChildren(node, end);
      if (this._options.gateway.mayDecide) {
        this._whole = whole;
        this._reveal = new Reveal(marks, end, () => this._showReady());
        this._showReady();
      }
    } catch (fault) {
      this._sayMissing(fault instanceof Error ? fault.message : String(fault));
    }
  }

  /** Returns the approval with the picture that is kept beside it, being too long for the record. */
  private async _fetchWhole(): Promise<Approval> {
    const { blob, hash } = this._approval.preview;
    this._scroller.replaceChildren(element('div', 'jp-agent-Decision-note', this.words.__('The whole is on its way…')));
    const text = typeof blob === 'string' ? await (await this._options.gateway.blob(blob)).text() : 'null';
    const preview = JSON.parse(text) as unknown;
    if (!isObject(preview) || typeof hash !== 'string' || preview.hash !== hash) {
      throw new Error(this.words.__('The server does not show all of what the call would do.'));
    }
    return { ...this._approval, preview };
  }

  private _sayMissing(why: string): void {
    const note = element('div', 'jp-agent-Decision-note', this.words.__('It cannot be approved here: %1', why));
    note.dataset.tone = 'fault';
    const again = element('button', 'jp-agent-Decision-button', this.words.__('Try again'));
    again.type = 'button';
    again.addEventListener('click', () => void this._show());
    this._scroller.replaceChildren(note, again);
  }

  // --- the decision -----------------------------------------------------------------------------------------------

  private _addControls(): void {
    const { words } = this;
    this._approve.addEventListener('keydown', refuseEnter);
    this._approveEdit.addEventListener('keydown', refuseEnter);
    this._reason.rows = 1;
    this._reason.maxLength = MOST_REASON;
    this._reason.placeholder = words.__('Why? The agent reads it. (optional)');
    this._reason.setAttribute('aria-label', words.__('Reason'));
    this._reason.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this._decideNo();
      }
    });
    this.body.append(this._reason);
    if (mayRemember(this._approval.effects)) {
      const text = words.__('also later writes of this run with %1', this._approval.toolName);
      const label = element('label', 'jp-agent-Decision-remember');
      this._remember.type = 'checkbox';
      label.append(this._remember, element('span', '', text));
      this.buttons.append(label);
    }
    const all = [this._approve, this._approveEdit, this._goOn, this._undo, this._edit, this._reject, this._rejectNow];
    this.buttons.append(...all, this._back);
    [this._approve, this._edit].forEach(button => button.setAttribute('aria-describedby', this.status.id));
    this._setMode('look');
  }

  private _setMode(mode: Mode): void {
    this._mode = mode;
    this._scroller.hidden = mode === 'edit';
    if (this._form) {
      this._form.node.hidden = mode !== 'edit';
    }
    this._reason.hidden = mode !== 'reject';
    this._approve.hidden = this._edit.hidden = this._reject.hidden = mode !== 'look';
    this._approveEdit.hidden = this._undo.hidden = mode !== 'edit';
    this._rejectNow.hidden = mode !== 'reject';
    this._back.hidden = mode === 'look';
    this._remember.disabled = mode === 'reject';
    this._showReady();
  }

  private _showReady(): void {
    if (this.isOver) {
      return;
    }
    const isWhole = this._reveal?.isWhole ?? false;
    this._approve.disabled = !isWhole;
    this._edit.disabled = !isWhole || !this._arguments;
    const text = this._mode === 'edit' ? (this._form?.text ?? null) : null;
    this._approveEdit.disabled = text === null;
    this._goOn.hidden = isWhole || this._mode !== 'look' || !this._reveal?.passedOver;
    if (this.isOpen) {
      this._showHint(isWhole, text);
    }
  }

  private _showHint(isWhole: boolean, edited: string | null): void {
    const { words } = this;
    const passedOver = this._reveal?.passedOver ?? null;
    if (this._mode === 'edit' && edited === null) {
      const isWrong = this._form?.isWrong ?? false;
      this.say(isWrong ? words.__('Correct what is marked.') : words.__('Nothing is changed yet.'));
    } else if (this._mode !== 'look') {
      this.say('');
    } else if (isWhole) {
      this.say(words.__('All of it was shown.'));
    } else if (passedOver) {
      this.say(words.__('A part was passed over: read it too, then you may approve.'));
    } else if (this._whole) {
      const { clientHeight, scrollHeight } = this._scroller;
      const isShort = clientHeight > 0 && scrollHeight <= clientHeight + 1;
      this.say(
        isShort
          ? words.__('Bring all of it into view: then you may approve.')
          : words.__('Read it to its end: then you may approve.')
      );
    }
  }

  private _startEdit(): void {
    if (!this._form && this._arguments) {
      this._form = new ArgumentsForm(this._arguments, this._approval.arguments, this.words, () => this._showReady());
      this.body.append(this._form.node);
    }
    this._setMode('edit');
    this._form?.focus();
  }

  private _undoEdit(): void {
    this._form?.undo();
    this._showReady();
    this._form?.focus();
  }

  private _startReject(): void {
    this._setMode('reject');
    this._reason.focus();
  }

  private _decideYes(): void {
    if (this._reveal?.isWhole) {
      const done = this.words.__('You approved it.');
      void this._send({ approved: true, ...this._remembering }, done);
    }
  }

  private _decideEdited(): void {
    const text = this._form?.text ?? null;
    if (this._reveal?.isWhole && text !== null) {
      const done = this.words.__('You approved it, with your changes.');
      void this._send({ approved: true, arguments: text, ...this._remembering }, done);
    }
  }

  private _decideNo(): void {
    const reason = this._reason.value.trim();
    void this._send({ approved: false, ...(reason ? { reason } : {}) }, this.words.__('You rejected it.'));
  }

  private async _send(decision: IDecision, done: string): Promise<void> {
    await this.carryOut(() => this._options.decide(decision), done);
  }

  private get _remembering(): Pick<IDecision, 'remember'> {
    return this._remember.checked ? { remember: 'run' } : {};
  }

  /** The checked arguments; null where they are not known whole. */
  private get _arguments(): Arguments | null {
    const given = this._whole?.preview.arguments;
    return isObject(given) ? given : null;
  }

  private readonly _approval: Approval;
  private readonly _options: IApprovalOptions;
  private readonly _timer: Countdown;
  private readonly _scroller = element('div', 'jp-agent-Decision-picture');
  private readonly _reason = element('textarea', 'jp-agent-Decision-field');
  private readonly _remember = element('input', '');
  private readonly _approve = this.button(this.words.__('Approve'), 'accept', () => this._decideYes());
  private readonly _edit = this.button(this.words.__('Edit'), 'plain', () => this._startEdit());
  private readonly _reject = this.button(this.words.__('Reject'), 'refuse', () => this._startReject());
  private readonly _approveEdit = this.button(this.words.__('Approve with changes'), 'accept', () =>
    this._decideEdited()
  );
  private readonly _goOn = this.button(this.words.__('Show what was passed over'), 'plain', () =>
    this._reveal?.passedOver?.scrollIntoView({ block: 'center' })
  );
  private readonly _undo = this.button(this.words.__('Undo changes'), 'plain', () => this._undoEdit());
  private readonly _rejectNow = this.button(this.words.__('Reject it'), 'refuse', () => this._decideNo());
  private readonly _back = this.button(this.words.__('Back'), 'plain', () => void this.back());
  private _mode: Mode = 'look';
  private _whole: Approval | undefined;
  private _reveal: Reveal | undefined;
  private _form: ArgumentsForm | undefined;
}

/** What executes or goes out is asked about each time. */
export function mayRemember(effects: ReadonlyArray<Effect>): boolean {
  return effects.includes('write') && effects.every(effect => effect === 'write' || effect === 'read');
}

function isShortened({ preview }: Approval): boolean {
  return preview.shortened !== undefined;
}

function refuseEnter(event: KeyboardEvent): void {
  if (event.key === 'Enter') {
    event.preventDefault();
    event.stopPropagation();
  }
}
