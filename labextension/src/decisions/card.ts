/**
 * A place where a person decides one thing, once.
 *
 * Rules: nothing in it takes the focus by itself; while a decision is on its way there is no second one; what went wrong
 * stands in the card, and the card can be used again; when it is over, the card says how and folds to that line.
 */

import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { element } from '../content/element';
import type { IWords } from '../tokens';

type State = 'open' | 'busy' | 'over';

/** What a status line is about: how the text stands out. */
type Tone = 'hint' | 'fault' | 'done';

export abstract class Card implements IDisposable {
  constructor(kind: 'approval' | 'question', title: string, words: IWords) {
    const id = `jp-agent-decision-${UUID.uuid4()}`;
    this.words = words;
    this.title.textContent = title;
    this.title.id = id;
    this.status.id = `${id}-status`;
    this.status.setAttribute('role', 'status');
    this.head.append(this.title);
    this.node.append(this.head, this.body, this.status, this.buttons);
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-labelledby', id);
    this.node.dataset.kind = kind;
    this.node.dataset.state = this._state;
    this.node.tabIndex = -1;
    this.node.addEventListener('keydown', event => this._onKey(event));
  }

  readonly node = element('section', 'jp-agent-Decision');

  /** Whether it was decided, here or elsewhere. */
  get isOver(): boolean {
    return this._state === 'over';
  }

  /** It is over: the person decided here, or it ended without them. */
  get ended(): ISignal<this, 'here' | 'elsewhere'> {
    return this._ended;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
    this.node.remove();
  }

  /** Says that it is over, and why. What this card sent and has no answer to yet has the last word. */
  end(why: string): void {
    if (this._state === 'busy') {
      this._ending = why;
    } else if (this._state === 'open') {
      this._finish(why, 'elsewhere');
    }
  }

  /** Leaves what the person is in the middle of; tells whether there was anything to leave. */
  abstract back(): boolean;

  protected readonly words: IWords;
  protected readonly title = element('div', 'jp-agent-Decision-title');
  protected readonly head = element('header', 'jp-agent-Decision-head');
  protected readonly body = element('div', 'jp-agent-Decision-body');
  protected readonly status = element('div', 'jp-agent-Decision-status');
  protected readonly buttons = element('div', 'jp-agent-Decision-buttons');

  protected get isOpen(): boolean {
    return this._state === 'open';
  }

  protected say(text: string, tone: Tone = 'hint'): void {
    this.status.dataset.tone = tone;
    if (this.status.textContent !== text) {
      this.status.textContent = text;
    }
  }

  /** Does what was decided; `done` is said when it took effect. */
  protected async carryOut(deed: () => Promise<void>, done: string): Promise<void> {
    if (this._state !== 'open') {
      return;
    }
    this._setState('busy');
    this.say(this.words.__('On its way…'));
    try {
      await deed();
    } catch (fault) {
      this._fail(fault instanceof Error ? fault.message : String(fault));
      return;
    }
    this._finish(done, 'here');
  }

  /** Returns a button; Enter does not press one that gives something away. */
  protected button(label: string, kind: 'accept' | 'refuse' | 'plain', press: () => void): HTMLButtonElement {
    const button = element('button', 'jp-agent-Decision-button', label);
    button.type = 'button';
    button.dataset.kind = kind;
    button.addEventListener('click', () => {
      if (this._state === 'open') {
        press();
      }
    });
    return button;
  }

  private _fail(why: string): void {
    if (this._ending !== null) {
      this._finish(`${why} ${this._ending}`, 'elsewhere');
      return;
    }
    this._setState('open');
    this.say(this.words.__('This was not carried out: %1', why), 'fault');
  }

  private _finish(how: string, where: 'here' | 'elsewhere'): void {
    const hadFocus = this.node.contains(document.activeElement);
    this._setState('over');
    this.say(how, 'done');
    if (hadFocus && this.node.contains(document.activeElement)) {
      this.node.focus({ preventScroll: true }); // what had it is folded away
    }
    this.onOver();
    this._ended.emit(where);
  }

  /** What is to stop when nothing can be decided any more. */
  protected onOver(): void {}

  private _setState(state: State): void {
    this._state = state;
    this.node.dataset.state = state;
    this.node.setAttribute('aria-busy', String(state === 'busy'));
    for (const button of this.buttons.querySelectorAll('button')) {
      button.setAttribute('aria-disabled', String(state !== 'open')); // disabled in earnest, it would lose the focus
    }
    this.body.hidden = this.buttons.hidden = state === 'over';
  }

  private _onKey(event: KeyboardEvent): void {
    if (event.key === 'Escape' && this.back()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  private _state: State = 'open';
  private readonly _ended = new Signal<this, 'here' | 'elsewhere'>(this);
  private _ending: string | null = null;
  private _isDisposed = false;
}
