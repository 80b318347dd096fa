/** The dialog around a card: what waits is put to the person wherever they are in the page. */

import { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { element } from '../content/element';
import type { Card } from '../decisions/card';
import { FAREWELL } from '../decisions/dock';

/** What the person did: `later` leaves this one open, `stop` what follows too. */
export type Choice = 'later' | 'stop' | 'done';

class Body extends Widget {
  constructor(
    private readonly _card: Card,
    about: string
  ) {
    super();
    this.addClass('jp-agent-Answer-body');
    this.node.append(element('div', 'jp-agent-Answer-about', about), _card.node);
  }

  override dispose(): void {
    this._card.dispose();
    super.dispose();
  }
}

/** Asks for one decision. It has one button of its own: what decides is in the card. */
export class AnswerDialog extends Dialog<unknown> {
  constructor(card: Card, runId: string, trans: TranslationBundle) {
    const later = Dialog.cancelButton({ label: trans.__('Later') });
    super({
      title: trans.__('An agent waits for you'),
      body: new Body(card, trans.__('Run %1', runId)),
      buttons: [later],
      focusNodeSelector: '.jp-agent-Decision-picture, textarea, input, select'
    });
    this.addClass('jp-agent-Answer');
    this._card = card;
    this._later = later;
    card.ended.connect((_, where) => setTimeout(() => this.reject(), where === 'here' ? 0 : FAREWELL));
  }

  /** Returns what the person did. */
  async ask(): Promise<Choice> {
    const { button } = await this.launch();
    if (this._card.isOver) {
      return 'done';
    }
    return button === this._later ? 'later' : 'stop';
  }

  /** Keys in the card are the card's: JupyterLab would press a button for Enter, and close for Escape. */
  override handleEvent(event: Event): void {
    const isInCard = event.target instanceof Node && this._card.node.contains(event.target);
    if (!(event instanceof KeyboardEvent) || event.type !== 'keydown' || !isInCard) {
      super.handleEvent(event);
    } else if (event.key === 'Escape' && !this._card.back()) {
      super.handleEvent(event);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  private readonly _card: Card;
  private readonly _later: Dialog.IButton;
}
