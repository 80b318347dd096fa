/**
 * What a tool gave, as it would stand in a terminal that cannot be told anything: escape codes are left out, colours are
 * not interpreted. Only as much is on the page as somebody asked for.
 */

import type { IWords } from '../tokens';
import { code } from './code';
import { element, plain, prose } from './element';
import { laidOut } from './json';
import { Portions } from './more';

const FIRST = { lines: 20, characters: 8_000 };
const NEXT = { lines: 1_000, characters: 100_000 };

export interface IOutputOptions {
  /** How many lines are shown at first. */
  readonly lines?: number;
}

/** Returns what a tool gave: JSON laid out, an error with its last line first, everything else as it is. */
export function output(text: string, words: IWords, options: IOutputOptions = {}): HTMLElement {
  const clean = withoutCodes(text);
  const node = element('div', 'jp-agent-Output');
  const first = { ...FIRST, lines: options.lines ?? FIRST.lines };
  const raw = (): HTMLElement => new Portions(clean, block, words, first, NEXT).node;
  const json = laidOut(clean);
  if (json !== null) {
    const pretty = (): HTMLElement => new Portions(json, piece => code(piece, 'json'), words, first, NEXT).node;
    node.append(...either(pretty, raw, words));
    return node;
  }
  const fault = faultOf(clean);
  if (fault) {
    node.append(prose('div', 'jp-agent-Output-fault', fault));
  }
  node.append(raw());
  return node;
}

function block(piece: string): HTMLElement {
  return prose('pre', 'jp-agent-Output-text', piece);
}

/** Two looks of the same, and a button that changes between them. */
function either(pretty: () => HTMLElement, raw: () => HTMLElement, words: IWords): HTMLElement[] {
  const shown = element('div', 'jp-agent-Output-shown');
  const button = element('button', 'jp-agent-Output-toggle', words.__('As it came'), {
    type: 'button',
    'aria-pressed': 'false'
  });
  shown.append(pretty());
  button.addEventListener('click', () => {
    const isRaw = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(isRaw));
    shown.replaceChildren(isRaw ? raw() : pretty());
  });
  return [button, shown];
}

/** Returns the last line of a traceback, which says what went wrong; else nothing. */
function faultOf(text: string): string {
  if (!/^(?:Traceback \(most recent call last\)|-{20,}\n\S+ +Traceback)/m.test(text.slice(0, 2_000))) {
    return '';
  }
  const last = text.slice(-4_000).trimEnd().split('\n').reverse();
  return (last.find(line => /^[\w.]+(?::|$)/.test(line)) ?? '').slice(0, 500);
}

/** Returns the text without the codes by which programs speak to terminals; of a line written over, its last state. */
function withoutCodes(text: string): string {
  let clean = text;
  if (/[\x1b\x9b]/.test(clean)) {
    clean = clean
      .replace(/\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?/g, '')
      .replace(/(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?/g, '')
      .replace(/\x1b[ -/]*[0-~]?/g, '');
  }
  clean = clean.includes('\r\n') ? clean.replace(/\r\n/g, '\n') : clean;
  return plain(clean.includes('\r') ? clean.split('\n').map(lastState).join('\n') : clean);
}

function lastState(line: string): string {
  const states = line.split('\r');
  return states.findLast(Boolean) ?? '';
}
