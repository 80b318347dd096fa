/** What every field of a form has: a label, a value to read, and a place to say what is wrong with it. */

import { UUID } from '@lumino/coreutils';

import { element } from '../content/element';
import type { IWords } from '../tokens';
import type { IProperty } from './schema';

/** A field of a form: it reads a value, and says what is wrong with it. */
export abstract class Field {
  /** What `check` returns instead of a value. */
  static readonly WRONG = Symbol('wrong');

  constructor(property: IProperty, words: IWords, node: 'div' | 'fieldset' = 'div') {
    const { shape } = property;
    this.words = words;
    this.property = property;
    this.node = element(node, 'jp-agent-Form-row');
    this.id = `jp-agent-field-${UUID.uuid4()}`;
    this._fault.id = `${this.id}-fault`;
    const label = element(node === 'div' ? 'label' : 'legend', 'jp-agent-Form-label', shape.title || property.name);
    if (label instanceof HTMLLabelElement) {
      label.htmlFor = this.id;
    }
    if (property.isRequired && property.name) {
      label.append(element('span', 'jp-agent-Form-needed', words.__('needed')));
    }
    if (label.textContent) {
      this.node.append(label);
    }
    if (shape.description) {
      this.node.append(element('div', 'jp-agent-Form-about', shape.description));
    }
  }

  readonly node: HTMLElement;

  /** Returns the value, undefined where it is left out, `WRONG` after saying what is wrong. */
  check(): unknown {
    try {
      const value = this.read();
      if (value === undefined && this.property.isRequired) {
        throw new Error(this.words.__('This is needed.'));
      }
      this._say('');
      return value;
    } catch (fault) {
      this._say(fault instanceof Error ? fault.message : String(fault));
      return Field.WRONG;
    }
  }

  /** Whether the person has put nothing into it. */
  get isBlank(): boolean {
    try {
      return this.read() === undefined;
    } catch {
      return false;
    }
  }

  /** Forgets what was said. */
  calm(): void {
    this._say('');
  }

  /** Returns the value. Throws an Error whose message is for the person. */
  protected abstract read(): unknown;

  /** Puts the input under the label, and where its mistakes are told. */
  protected show(...inputs: HTMLElement[]): void {
    this.node.append(...inputs, this._fault);
  }

  /** Makes it the input that has the label. */
  protected own<T extends HTMLElement>(input: T): T {
    input.id = this.id;
    if (!this.node.querySelector('label')) {
      input.setAttribute('aria-label', this.words.__('Your answer'));
    }
    this.mark(input);
    return input;
  }

  /** Makes it the input at which mistakes are told. */
  protected mark(input: HTMLElement): void {
    input.setAttribute('aria-describedby', this._fault.id);
    this._marked = input;
  }

  private _say(fault: string): void {
    this._fault.textContent = fault;
    this._marked?.setAttribute('aria-invalid', String(fault !== ''));
  }

  protected readonly words: IWords;
  protected readonly property: IProperty;
  protected readonly id: string;
  private readonly _fault = element('div', 'jp-agent-Decision-fault');
  private _marked: HTMLElement | undefined;
}
