/** One row with everything in it: what a tool was given and what it gave as they are shown in a run, the rest as facts. */

import { argumentsTable } from '../content/args';
import { element, prose } from '../content/element';
import { output } from '../content/output';
import type { IWords } from '../tokens';
import { duration } from '../view/figures';
import { type Fields, moment, numberOf, textOf } from './read';

/** Shown on their own, below the facts. */
const LONG: ReadonlySet<string> = new Set(['arguments', 'result', 'error', 'text', 'thinking']);

/** A fact that is longer is shown as output is. */
const FACT = 200;

/** More are not shown: each is an element, and no table of ours has so many columns. */
const MOST_FACTS = 1_000;

/** Returns the row's facts, then its texts. */
export function opened(row: Fields, words: IWords): HTMLElement {
  const entries = Object.entries(row).slice(0, MOST_FACTS);
  const node = element('div', 'jp-agent-Opened-content');
  const facts = element('dl', 'jp-agent-Opened-facts');
  for (const [name, value] of entries) {
    if (LONG.has(name) || value === null || value === undefined) {
      continue;
    }
    const text = factOf(name, value);
    if (text.length <= FACT) {
      const pair = element('div', 'jp-agent-Opened-fact');
      pair.append(element('dt', '', name.replace(/_/g, ' ')), prose('dd', '', text));
      facts.append(pair);
    }
  }
  node.append(facts);
  if (typeof row.arguments === 'string') {
    node.append(part(words.__('Input'), argumentsTable(row.arguments, words)));
  }
  if (textOf(row.error)) {
    node.append(part(words.__('Error'), output(textOf(row.error), words)));
  }
  if (typeof row.result === 'string') {
    node.append(part(words.__('Output'), output(row.result, words)));
  }
  for (const [name, value] of entries) {
    const isRest = !['arguments', 'error', 'result'].includes(name) && typeof value === 'string' && value !== '';
    if (isRest && (LONG.has(name) || value.length > FACT)) {
      node.append(part(name.replace(/_/g, ' '), output(value, words)));
    }
  }
  return node;
}

function factOf(name: string, value: unknown): string {
  const number = numberOf(value);
  if (number !== null && (name === 'latency' || name === 'duration')) {
    return duration(number);
  }
  if (typeof value === 'string') {
    return name.endsWith('_at') ? moment(value) : value;
  }
  return number !== null ? number.toLocaleString() : String(JSON.stringify(value));
}

function part(label: string, content: HTMLElement): HTMLElement {
  const node = element('div', 'jp-agent-Opened-part');
  node.append(element('div', 'jp-agent-Opened-label', label), content);
  return node;
}
