/** A question of the agent, and room for the answer: words, or a form where the question comes with a JSON Schema. */

import { element } from '../content/element';
import type { InputNeeded } from '../protocol';
import type { IGateway, IWords } from '../tokens';
import { Card } from './card';
import { Form } from './form';

export interface IQuestionOptions {
  readonly words: IWords;
  readonly gateway: Pick<IGateway, 'mayDecide' | 'blob'>;

  /** Settles when the gateway has taken the answer; a rejection says why it has not. */
  readonly answer: (content: string) => Promise<void>;
}

/** As the gateway has it, in characters. */
const MOST_CONTENT = 256 * 1024;

export class QuestionCard extends Card {
  constructor(asked: InputNeeded, options: IQuestionOptions) {
    super('question', options.words.__('The agent asks you'), options.words);
    const { words, gateway } = options;
    this._options = options;
    this.body.append(element('div', 'jp-agent-Decision-prompt', asked.prompt));
    if (!gateway.mayDecide) {
      this.say(words.__('Answer it in JupyterLab, or in a terminal with: jupyter agent approve'));
      return;
    }
    if (asked.schema) {
      this._form = new Form(asked.schema, words);
      this.body.append(this._form.node);
    } else {
      this.body.append(this._field);
      this._addField();
    }
    this.buttons.append(this._send);
    this.say(words.__('The model reads your answer.'));
  }

  override back(): boolean {
    return false;
  }

  private _addField(): void {
    this._field.rows = 3;
    this._field.maxLength = MOST_CONTENT;
    this._field.setAttribute('aria-label', this.words.__('Your answer'));
    this._field.addEventListener('input', () => this._showReady());
    this._field.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this._submit();
      }
    });
    this._showReady();
  }

  private _showReady(): void {
    this._send.disabled = this._field.value.trim() === '';
  }

  private _submit(): void {
    const content = this._form ? this._form.text : this._field.value.trim();
    if (content === null) {
      this.say(this.words.__('Correct what is marked.'), 'fault');
    } else if (content.length > MOST_CONTENT) {
      this.say(
        this.words.__('The answer is too long: %1 characters, at most %2.', content.length, MOST_CONTENT),
        'fault'
      );
    } else if (content) {
      void this.carryOut(() => this._options.answer(content), this.words.__('You answered.'));
    }
  }

  private readonly _options: IQuestionOptions;
  private readonly _field = element('textarea', 'jp-agent-Decision-field');
  private readonly _send = this.button(this.words.__('Answer'), 'accept', () => this._submit());
  private _form: Form | undefined;
}
