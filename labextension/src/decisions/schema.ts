/**
 * A JSON Schema read as what a form can show. It comes from a model: it may be huge, deep, wrong or meant to break a page.
 *
 * What is not understood for certain becomes `json`: a field for JSON text. Patterns are not read: a pattern can keep a page
 * busy for ever.
 */

import { isObject } from './picture';

/** A schema with more than this is not shown as a form. */
const MOST_NODES = 3_000;
const MOST_DEPTH = 12;
const MOST_CHARACTERS = 60_000;

const MOST_PROPERTIES = 60;
const MOST_OPTIONS = 200;

/** A text that may be longer gets several lines. */
const LONG = 200;

interface IShape {
  readonly title: string;
  readonly description: string;

  /** What the field begins with; undefined for nothing. */
  readonly initial: unknown;
}

export type Shape = IShape &
  (
    | { readonly kind: 'text'; readonly input: 'text' | 'date' | 'email' | 'url'; readonly isLong: boolean }
    | { readonly kind: 'number'; readonly isWhole: boolean; readonly step: number | null }
    | { readonly kind: 'flag' }
    | { readonly kind: 'choice'; readonly options: ReadonlyArray<unknown> }
    | { readonly kind: 'choices'; readonly options: ReadonlyArray<unknown> }
    | { readonly kind: 'lines' }
    | { readonly kind: 'fixed'; readonly value: unknown }
    | { readonly kind: 'object'; readonly properties: ReadonlyArray<IProperty> }
    | { readonly kind: 'json'; readonly schema: unknown }
  ) & { readonly limits: ILimits };

export interface IProperty {
  readonly name: string;
  readonly isRequired: boolean;
  readonly shape: Shape;
}

/** The bounds that a value must keep, where they are numbers. */
export interface ILimits {
  readonly least: number | null;
  readonly most: number | null;
  readonly above: number | null;
  readonly below: number | null;
}

type Schema = Readonly<Record<string, unknown>>;

const FREE: ILimits = { least: null, most: null, above: null, below: null };

/** Keywords that say more than a form can. */
const BEYOND = ['$ref', '$dynamicRef', 'allOf', 'oneOf', 'not', 'if', 'patternProperties', 'dependentSchemas'];

const INPUTS = new Map<unknown, 'date' | 'email' | 'url'>([
  ['date', 'date'],
  ['email', 'email'],
  ['uri', 'url']
]);

/** Returns how to show the schema; objects in objects are shown to this depth. */
export function shapeOf(schema: unknown): Shape {
  return isModest(schema) ? read(schema, 2) : { ...about(schema), kind: 'json', schema, limits: FREE };
}

/** Tells whether the schema is small enough to be looked at. */
function isModest(schema: unknown): boolean {
  const open: (readonly [unknown, number])[] = [[schema, 0]];
  let [nodes, characters] = [0, 0];
  for (let item = open.pop(); item; item = open.pop()) {
    const [value, depth] = item;
    nodes += 1;
    characters += typeof value === 'string' ? value.length : 0;
    if (typeof value === 'object' && value !== null) {
      const names = Array.isArray(value) ? [] : Object.keys(value);
      characters += names.reduce((sum, name) => sum + name.length, 0);
      const parts = Object.values(value) as unknown[];
      if (parts.length > MOST_NODES || depth >= MOST_DEPTH) {
        return false;
      }
      parts.forEach(part => open.push([part, depth + 1]));
    }
    if (nodes + open.length > MOST_NODES || characters > MOST_CHARACTERS) {
      return false;
    }
  }
  return true;
}

function read(given: unknown, depth: number): Shape {
  const schema = isObject(given) ? withoutNull(given) : {};
  const common = { ...about(schema), limits: FREE };
  if (BEYOND.some(keyword => Object.hasOwn(schema, keyword)) || Object.hasOwn(schema, 'anyOf')) {
    return { ...common, kind: 'json', schema };
  }
  if (Object.hasOwn(schema, 'const')) {
    return { ...common, kind: 'fixed', value: schema.const };
  }
  if (Array.isArray(schema.enum)) {
    const fits = schema.enum.length > 0 && schema.enum.length <= MOST_OPTIONS;
    return fits ? { ...common, kind: 'choice', options: schema.enum } : { ...common, kind: 'json', schema };
  }
  switch (schema.type) {
    case 'string': {
      const limits = limitsOf(schema, 'minLength', 'maxLength');
      const input = INPUTS.get(schema.format) ?? 'text';
      const isLong = input === 'text' && (limits.most ?? 0) > LONG;
      return { ...common, kind: 'text', input, isLong, limits };
    }
    case 'integer':
    case 'number': {
      const limits = limitsOf(schema, 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum');
      const step = typeof schema.multipleOf === 'number' && schema.multipleOf > 0 ? schema.multipleOf : null;
      return { ...common, kind: 'number', isWhole: schema.type === 'integer', step, limits };
    }
    case 'boolean':
      return { ...common, kind: 'flag' };
    case 'array':
      return list(schema, common);
    case 'object':
      return object(schema, common, depth);
    default:
      return { ...common, kind: 'json', schema };
  }
}

function list(schema: Schema, common: IShape): Shape {
  const items = isObject(schema.items) ? read(schema.items, 0) : null;
  const limits = limitsOf(schema, 'minItems', 'maxItems');
  if (items?.kind === 'choice') {
    return { ...common, kind: 'choices', options: items.options, limits };
  }
  const isPlain = items?.kind === 'text' && items.input === 'text' && items.limits.most === null;
  return isPlain ? { ...common, kind: 'lines', limits } : { ...common, kind: 'json', schema, limits: FREE };
}

function object(schema: Schema, common: IShape, depth: number): Shape {
  const properties = isObject(schema.properties) ? Object.entries(schema.properties) : [];
  if (depth === 0 || properties.length === 0 || properties.length > MOST_PROPERTIES) {
    return { ...common, kind: 'json', schema, limits: FREE };
  }
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  if ([...required].some(name => !properties.some(([known]) => known === name))) {
    return { ...common, kind: 'json', schema, limits: FREE };
  }
  const initial = isObject(schema.default) ? schema.default : {};
  const fields = properties.map(([name, part]): IProperty => {
    const shape = read(part, depth - 1);
    const begun = Object.hasOwn(initial, name) ? { ...shape, initial: initial[name] } : shape;
    return { name, isRequired: required.has(name), shape: begun };
  });
  return { ...common, kind: 'object', properties: fields, limits: FREE };
}

/** Returns the schema of something that may be null as that of the thing: nothing is what is left out. */
function withoutNull(schema: Schema): Schema {
  const { anyOf, type, ...rest } = schema;
  if (Array.isArray(anyOf)) {
    const others = anyOf.filter(option => !(isObject(option) && option.type === 'null'));
    const [only] = others;
    return others.length === 1 && isObject(only) ? { ...only, ...rest } : schema;
  }
  if (Array.isArray(type)) {
    const others: unknown[] = type.filter(name => name !== 'null');
    return others.length === 1 ? { ...rest, type: others[0] } : { ...rest };
  }
  return schema;
}

function about(schema: unknown): IShape {
  const { title, description, default: initial } = isObject(schema) ? schema : {};
  return { title: textOf(title), description: textOf(description), initial };
}

function textOf(value: unknown): string {
  const text = typeof value === 'string' ? value : '';
  return text.length > 1_000 ? `${text.slice(0, 1_000)}…` : text;
}

function limitsOf(schema: Schema, least: string, most: string, above = '', below = ''): ILimits {
  const number = (name: string): number | null => (typeof schema[name] === 'number' ? schema[name] : null);
  return { least: number(least), most: number(most), above: number(above), below: number(below) };
}
