/**
 * A form for a JSON Schema. What it gives is the JSON text of a value.
 *
 * It helps to write what is asked for; it does not judge patterns and other conditions.
 */

import { element } from '../content/element';
import type { IWords } from '../tokens';
import { Field } from './field';
import { fieldOf } from './fields';
import { shapeOf } from './schema';

export class Form {
  constructor(schema: unknown, words: IWords) {
    this._field = fieldOf({ name: '', isRequired: true, shape: shapeOf(schema) }, words);
    this.node.append(this._field.node);
    this.node.addEventListener('input', () => {
      if (this._isChecked) {
        this._field.check();
      }
    });
  }

  readonly node = element('div', 'jp-agent-Form');

  /** The value as JSON text; null where something is wrong: then each mistake is marked, and the first has the focus. */
  get text(): string | null {
    this._isChecked = true;
    const value = this._field.check();
    if (value === Field.WRONG) {
      this.node.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
      return null;
    }
    return JSON.stringify(value);
  }

  private readonly _field: Field;
  private _isChecked = false;
}
