/**
 * The dialogs in which a person decides: an approval of a tool call, an answer to a question.
 *
 * An approval is given on purpose or not at all: only after all of the picture was in view for half a second, never by
 * Enter, and nothing has the focus that would give it.
 */

import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import type { Approval, InputNeeded } from '../protocol';
import { element, picture, wants } from './preview';

/** From the moment when the last of the picture came into view, in milliseconds. */
const ARMING = 500;

/** How long a dialog says why it closes, in milliseconds. */
const FAREWELL = 2_500;

/** What the person did: `later` leaves this one open, `stop` what follows too, `ended` says that it was too late. */
export type Choice = 'later' | 'stop' | 'reject' | 'accept' | 'ended';

/** What a dialog shows, and when it may be accepted. */
abstract class Body extends Widget {
  constructor() {
    super();
    this.addClass('jp-agent-Answer-body');
    this.hint.setAttribute('role', 'status');
  }

  readonly changed = new Signal<this, void>(this);

  abstract readonly isReady: boolean;

  /** Whether Enter on the accepting button accepts. */
  abstract readonly acceptsEnter: boolean;

  /** What the person wrote. */
  get text(): string {
    return this.field.value.trim();
  }

  /** Says in the place of the hint that it is over. */
  say(text: string): void {
    this.hint.textContent = text;
  }

  protected readonly field = element('textarea', 'jp-agent-Answer-field jp-mod-styled');
  protected readonly hint = element('div', 'jp-agent-Answer-hint');
}

/** A tool call: what it will do, until when, and room for a reason. */
export class ApprovalBody extends Body {
  constructor(approval: Approval, trans: TranslationBundle) {
    super();
    const until = new Date(approval.expiresAt).toLocaleTimeString();
    const about = trans.__('Run %1. Without a decision the call is rejected at %2.', approval.runId, until);
    const scroller = element('div', 'jp-agent-Answer-picture');
    scroller.tabIndex = 0;
    scroller.setAttribute('role', 'region');
    scroller.setAttribute('aria-label', trans.__('What the call will do'));
    scroller.append(picture(approval, trans), this._end);
    this.hint.textContent = trans.__('Read it to its end: then you may approve.');
    this.field.rows = 1;
    this.field.placeholder = trans.__('If you reject: why? The agent reads it. (optional)');
    this.field.setAttribute('aria-label', trans.__('Reason'));
    this.node.append(element('div', 'jp-agent-Answer-about', about), scroller, this.hint, this.field);
  }

  readonly acceptsEnter = false;

  get isReady(): boolean {
    return this._isArmed;
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._observer = new IntersectionObserver(entries => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) {
        this._observer?.disconnect();
        this._arming = setTimeout(() => this._arm(), ARMING);
      }
    });
    this._observer.observe(this._end);
  }

  protected override onBeforeDetach(message: Message): void {
    this._observer?.disconnect();
    clearTimeout(this._arming);
    super.onBeforeDetach(message);
  }

  private _arm(): void {
    this._isArmed = true;
    this.hint.textContent = '';
    this.changed.emit();
  }

  /** It stands behind everything there is to see. */
  private readonly _end = element('div', 'jp-agent-Answer-end');
  private _observer: IntersectionObserver | undefined;
  private _arming: ReturnType<typeof setTimeout> | undefined;
  private _isArmed = false;
}

/** A question of the agent, and room for the answer. */
export class QuestionBody extends Body {
  constructor(asked: InputNeeded, trans: TranslationBundle) {
    super();
    this.node.append(element('div', 'jp-agent-Answer-about', trans.__('Run %1', asked.runId)));
    this.node.append(element('pre', 'jp-agent-Answer-prompt', asked.prompt));
    if (asked.schema) {
      const schema = element('details', 'jp-agent-Answer-schema');
      schema.append(element('summary', '', trans.__('The answer should be JSON of this schema')));
      schema.append(element('pre', '', JSON.stringify(asked.schema, null, 2)));
      schema.open = true;
      this.node.append(schema);
    }
    this.field.rows = 3;
    this.field.setAttribute('aria-label', trans.__('Your answer'));
    this.field.addEventListener('input', () => this.changed.emit());
    this.node.append(this.field, this.hint);
  }

  readonly acceptsEnter = true;

  get isReady(): boolean {
    return this.text !== '';
  }
}

/** Asks for one decision. */
export class AnswerDialog extends Dialog<unknown> {
  constructor(title: string, body: Body, buttons: ReadonlyArray<Dialog.IButton>, choices: ReadonlyArray<Choice>) {
    super({ title, body, buttons, defaultButton: 0, focusNodeSelector: '[tabindex], textarea' });
    this.addClass('jp-agent-Answer');
    this._content = body;
    this._choices = choices;
    this._buttonsGiven = buttons;
    body.changed.connect(this._showReady, this);
    this._showReady();
  }

  /** Returns what the person did. */
  async ask(): Promise<Choice> {
    const { button } = await this.launch();
    return this._isEnded ? 'ended' : (this._choices[this._buttonsGiven.indexOf(button)] ?? 'stop');
  }

  /** Says that it is too late, and closes. */
  end(why: string): void {
    this._isEnded = true;
    this._content.say(why);
    this._showReady();
    setTimeout(() => this.reject(), FAREWELL);
  }

  /** The one way out through a button. */
  override resolve(index = 0): void {
    if (this._mayChoose(index)) {
      super.resolve(index);
    }
  }

  override handleEvent(event: Event): void {
    const accept = this._accept;
    const isEnter = event instanceof KeyboardEvent && event.type === 'keydown' && event.key === 'Enter';
    if (isEnter && !this._content.acceptsEnter && event.target instanceof Node && accept?.contains(event.target)) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    super.handleEvent(event);
  }

  /** JupyterLab enables every accepting button whenever something is typed. */
  protected override _checkValidation(): void {
    super._checkValidation();
    this._showReady();
  }

  private _mayChoose(index: number): boolean {
    const choice = this._choices[index];
    return choice === 'later' || (!this._isEnded && (choice !== 'accept' || this._content.isReady));
  }

  private _showReady(): void {
    this._nodes.forEach((node, index) => {
      node.disabled = !this._mayChoose(index);
    });
  }

  private get _nodes(): ReadonlyArray<HTMLButtonElement> {
    return [...this.node.querySelectorAll<HTMLButtonElement>('.jp-Dialog-footerButtons > button')];
  }

  private get _accept(): HTMLButtonElement | undefined {
    return this._nodes[this._choices.indexOf('accept')];
  }

  private readonly _content: Body;
  private readonly _choices: ReadonlyArray<Choice>;
  private readonly _buttonsGiven: ReadonlyArray<Dialog.IButton>;
  private _isEnded = false;
}

/** Returns the dialog for a tool call that waits. */
export function approvalDialog(approval: Approval, body: ApprovalBody, trans: TranslationBundle): AnswerDialog {
  const buttons = [
    Dialog.cancelButton({ label: trans.__('Later') }),
    Dialog.warnButton({ label: trans.__('Reject'), accept: false }),
    Dialog.okButton({ label: trans.__('Approve') })
  ];
  return new AnswerDialog(wants(approval.toolName, approval.effects, trans), body, buttons, [
    'later',
    'reject',
    'accept'
  ]);
}

/** Returns the dialog for a question that waits. */
export function questionDialog(body: QuestionBody, trans: TranslationBundle): AnswerDialog {
  const buttons = [Dialog.cancelButton({ label: trans.__('Later') }), Dialog.okButton({ label: trans.__('Answer') })];
  return new AnswerDialog(trans.__('The agent asks you'), body, buttons, ['later', 'accept']);
}
