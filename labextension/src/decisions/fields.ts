/** The kinds of fields that a form can have, a class each. */

import { element, visible } from '../content/element';
import type { IWords } from '../tokens';
import { Field } from './field';
import type { ILimits, IProperty, Shape } from './schema';

/** So few choices stand side by side. */
const FEW = 5;

/** The longest JSON text that is shown or begun with. */
const MOST_TEXT = 50_000;

type Of<K extends Shape['kind']> = Extract<Shape, { readonly kind: K }>;

export function fieldOf(property: IProperty, words: IWords): Field {
  const { shape } = property;
  switch (shape.kind) {
    case 'text':
      return new TextField(property, shape, words);
    case 'number':
      return new NumberField(property, shape, words);
    case 'flag':
      return new FlagField(property, shape, words);
    case 'choice':
      return property.isRequired && shape.options.length <= FEW
        ? new RadioField(property, shape, words)
        : new SelectField(property, shape, words);
    case 'choices':
      return new ChoicesField(property, shape, words);
    case 'lines':
      return new LinesField(property, shape, words);
    case 'fixed':
      return new FixedField(property, shape, words);
    case 'object':
      return new ObjectField(property, shape, words);
    case 'json':
      return new JsonField(property, shape, words);
  }
}

class TextField extends Field {
  constructor(property: IProperty, shape: Of<'text'>, words: IWords) {
    super(property, words);
    this._shape = shape;
    this._input = this.own(element(shape.isLong ? 'textarea' : 'input', 'jp-agent-Decision-field'));
    if (this._input instanceof HTMLInputElement) {
      this._input.type = shape.input;
    }
    if (typeof shape.initial === 'string') {
      this._input.value = shape.initial;
    }
    this.show(this._input);
  }

  protected override read(): unknown {
    const { value } = this._input;
    const { words } = this;
    if (this._input.validity.badInput || this._input.validity.typeMismatch) {
      throw new Error(this._input.validationMessage || words.__('This is not what is asked for.'));
    }
    if (value === '') {
      return undefined;
    }
    const { least, most } = this._shape.limits;
    const length = [...value].length;
    if (least !== null && length < least) {
      throw new Error(words.__('Write at least %1 characters.', least));
    }
    if (most !== null && length > most) {
      throw new Error(words.__('Write at most %1 characters: these are %2.', most, length));
    }
    return value;
  }

  private readonly _shape: Of<'text'>;
  private readonly _input: HTMLInputElement | HTMLTextAreaElement;
}

class NumberField extends Field {
  constructor(property: IProperty, shape: Of<'number'>, words: IWords) {
    super(property, words);
    this._shape = shape;
    this._input.type = 'number';
    this._input.step = shape.step === null ? (shape.isWhole ? '1' : 'any') : String(shape.step);
    this._input.min = String(shape.limits.least ?? '');
    this._input.max = String(shape.limits.most ?? '');
    this._input.value = typeof shape.initial === 'number' ? String(shape.initial) : '';
    this.show(this.own(this._input));
  }

  protected override read(): unknown {
    const { words } = this;
    if (this._input.validity.badInput) {
      throw new Error(words.__('Write a number.'));
    }
    if (this._input.value === '') {
      return undefined;
    }
    const value = Number(this._input.value);
    if (this._shape.isWhole && !Number.isInteger(value)) {
      throw new Error(words.__('Write a whole number.'));
    }
    const wrong = outside(value, this._shape.limits, words);
    if (wrong) {
      throw new Error(wrong);
    }
    return value;
  }

  private readonly _shape: Of<'number'>;
  private readonly _input = element('input', 'jp-agent-Decision-field');
}

function outside(value: number, { least, most, above, below }: ILimits, words: IWords): string {
  if (least !== null && value < least) {
    return words.__('Write a number of at least %1.', least);
  }
  if (most !== null && value > most) {
    return words.__('Write a number of at most %1.', most);
  }
  if (above !== null && value <= above) {
    return words.__('Write a number above %1.', above);
  }
  return below !== null && value >= below ? words.__('Write a number below %1.', below) : '';
}

class FlagField extends Field {
  constructor(property: IProperty, shape: Of<'flag'>, words: IWords) {
    super(property, words);
    this._input.type = 'checkbox';
    this._input.checked = shape.initial === true;
    this.node.dataset.kind = 'flag';
    this.show(this.own(this._input));
  }

  override get isBlank(): boolean {
    return !this._input.checked;
  }

  protected override read(): unknown {
    return this._input.checked;
  }

  private readonly _input = element('input', '');
}

class SelectField extends Field {
  constructor(property: IProperty, shape: Of<'choice'>, words: IWords) {
    super(property, words);
    this._options = shape.options;
    this._input.append(option('', words.__('Choose…')));
    shape.options.forEach((value, index) => this._input.append(option(String(index), label(value))));
    const initial = indexOf(shape.options, shape.initial);
    this._input.value = initial < 0 ? '' : String(initial);
    this.show(this.own(this._input));
  }

  protected override read(): unknown {
    return this._input.value === '' ? undefined : this._options[Number(this._input.value)];
  }

  private readonly _options: ReadonlyArray<unknown>;
  private readonly _input = element('select', 'jp-agent-Decision-field');
}

/** Several inputs with a label each, of which one or more can be ticked. */
abstract class TickField extends Field {
  constructor(property: IProperty, options: ReadonlyArray<unknown>, type: 'radio' | 'checkbox', words: IWords) {
    super(property, words, 'fieldset');
    this._options = options;
    const group = element('div', 'jp-agent-Form-ticks');
    this._inputs = options.map(value => {
      const input = element('input', '');
      input.type = type;
      input.name = this.id;
      const row = element('label', 'jp-agent-Form-tick');
      row.append(input, element('span', '', label(value)));
      group.append(row);
      return input;
    });
    if (this._inputs[0]) {
      this.mark(this._inputs[0]);
    }
    this.show(group);
  }

  protected tick(values: ReadonlyArray<unknown>): void {
    values.map(value => this._inputs[indexOf(this._options, value)]).forEach(input => input && (input.checked = true));
  }

  protected get ticked(): ReadonlyArray<unknown> {
    return this._options.filter((_, index) => this._inputs[index]?.checked);
  }

  private readonly _options: ReadonlyArray<unknown>;
  private readonly _inputs: ReadonlyArray<HTMLInputElement>;
}

class RadioField extends TickField {
  constructor(property: IProperty, shape: Of<'choice'>, words: IWords) {
    super(property, shape.options, 'radio', words);
    this.tick([shape.initial]);
  }

  protected override read(): unknown {
    return this.ticked[0];
  }
}

class ChoicesField extends TickField {
  constructor(property: IProperty, shape: Of<'choices'>, words: IWords) {
    super(property, shape.options, 'checkbox', words);
    this._limits = shape.limits;
    this.tick(Array.isArray(shape.initial) ? shape.initial : []);
  }

  protected override read(): unknown {
    return counted(this.ticked, this._limits, this.property.isRequired, this.words);
  }

  private readonly _limits: ILimits;
}

class LinesField extends Field {
  constructor(property: IProperty, shape: Of<'lines'>, words: IWords) {
    super(property, words);
    this._limits = shape.limits;
    this._input.rows = 3;
    this._input.placeholder = words.__('One a line');
    this._input.value = Array.isArray(shape.initial) ? shape.initial.filter(isText).join('\n') : '';
    this.show(this.own(this._input));
  }

  protected override read(): unknown {
    const lines = this._input.value.split('\n').filter(line => line.trim() !== '');
    return counted(lines, this._limits, this.property.isRequired, this.words);
  }

  private readonly _limits: ILimits;
  private readonly _input = element('textarea', 'jp-agent-Decision-field');
}

/** Returns the list, undefined for an empty one that may be left out. Throws where there are too few or too many. */
function counted(
  values: ReadonlyArray<unknown>,
  { least, most }: ILimits,
  isRequired: boolean,
  words: IWords
): unknown {
  if (values.length === 0 && !isRequired) {
    return undefined;
  }
  if (least !== null && values.length < least) {
    throw new Error(words.__('At least %1 are asked for.', least));
  }
  if (most !== null && values.length > most) {
    throw new Error(words.__('At most %1 are asked for: these are %2.', most, values.length));
  }
  return values;
}

class FixedField extends Field {
  constructor(property: IProperty, shape: Of<'fixed'>, words: IWords) {
    super(property, words);
    this._value = shape.value;
    this.show(this.own(element('output', 'jp-agent-Form-fixed', label(shape.value))));
  }

  override get isBlank(): boolean {
    return true;
  }

  protected override read(): unknown {
    return this._value;
  }

  private readonly _value: unknown;
}

class ObjectField extends Field {
  constructor(property: IProperty, shape: Of<'object'>, words: IWords) {
    super(property, words, 'fieldset');
    this.node.dataset.kind = 'object';
    this._parts = shape.properties.map(part => [part.name, fieldOf(part, words)] as const);
    this.show(...this._parts.map(([, field]) => field.node));
  }

  override get isBlank(): boolean {
    return this._parts.every(([, field]) => field.isBlank);
  }

  override check(): unknown {
    if (!this.property.isRequired && this.isBlank) {
      this.calm();
      return undefined;
    }
    return super.check();
  }

  override calm(): void {
    this._parts.forEach(([, field]) => field.calm());
  }

  /** Each part says itself what is wrong with it. */
  protected override read(): unknown {
    const values = this._parts.map(([name, field]) => [name, field.check()] as const);
    return values.some(([, value]) => value === Field.WRONG)
      ? Field.WRONG
      : Object.fromEntries(values.filter(([, value]) => value !== undefined));
  }

  private readonly _parts: ReadonlyArray<readonly [string, Field]>;
}

class JsonField extends Field {
  constructor(property: IProperty, shape: Of<'json'>, words: IWords) {
    super(property, words);
    this._input.rows = 4;
    this._input.spellcheck = false;
    this._input.placeholder = 'JSON';
    this._input.value = shape.initial === undefined ? '' : jsonText(shape.initial, '');
    this.show(this.own(this._input));
    const details = element('details', 'jp-agent-Form-schema');
    details.append(element('summary', '', words.__('It should be JSON of this schema')));
    details.append(
      element('pre', '', jsonText(shape.schema, words.__('The schema is too long or too deep to be shown.')))
    );
    this.node.append(details);
  }

  protected override read(): unknown {
    if (this._input.value.trim() === '') {
      return undefined;
    }
    try {
      return JSON.parse(this._input.value) as unknown;
    } catch (fault) {
      throw new Error(this.words.__('This is no JSON: %1', visible(fault instanceof Error ? fault.message : '')));
    }
  }

  private readonly _input = element('textarea', 'jp-agent-Decision-field');
}

/** Returns the value as JSON, `otherwise` where that would be too much. */
function jsonText(value: unknown, otherwise: string): string {
  try {
    const text = JSON.stringify(value, null, 2) ?? '';
    return text.length > MOST_TEXT ? otherwise : text;
  } catch {
    return otherwise;
  }
}

function option(value: string, text: string): HTMLOptionElement {
  const node = element('option', '', text);
  node.value = value;
  return node;
}

function label(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function indexOf(options: ReadonlyArray<unknown>, value: unknown): number {
  return value === undefined ? -1 : options.findIndex(option => JSON.stringify(option) === JSON.stringify(value));
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
