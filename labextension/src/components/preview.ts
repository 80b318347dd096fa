/**
 * What exactly a tool call will do, from the server's picture of it, for a person who is to approve it.
 *
 * Everything becomes text nodes, and what cannot be seen is written out: nothing that a model wrote can hide here, move
 * what stands beside it, or look like a part of the page.
 */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { Approval, Effect } from '../protocol';

/** As the server does it, for what it hands on as it is; what it made visible already stays. */
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu;

/** Parts of the picture that are not the picture: shown in their own way, or nothing to a person. */
const APART: ReadonlySet<string> = new Set(['tool', 'hash', 'arguments', 'warning', 'invisible']);

/** A longer value gets lines of its own. */
const SHORT = 80;

/** Returns the text with every character that cannot be seen written out, as ⟨U+200B⟩. Blanks, line breaks and tabs stay. */
export function visible(text: string): string {
  return text.replace(HIDDEN, character =>
    ' \n\t'.includes(character)
      ? character
      : `⟨U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`
  );
}

/** Returns which tool wants to do what kind of thing. */
export function wants(toolName: string, effects: ReadonlyArray<Effect>, trans: TranslationBundle): string {
  const words: Record<Effect, string> = {
    read: trans.__('read'),
    write: trans.__('write'),
    exec: trans.__('execute code'),
    network: trans.__('use the network')
  };
  const what = effects.map(effect => words[effect]).join(trans.__(' and ')) || trans.__('act');
  return trans.__('%1 wants to %2', visible(toolName), what);
}

/** Returns the picture of a call: what its tool shows of it, else its arguments. */
export function picture(approval: Approval, trans: TranslationBundle): HTMLElement {
  const { preview } = approval;
  const node = element('div', 'jp-agent-Picture');
  if (typeof preview.warning === 'string') {
    node.append(element('div', 'jp-agent-Picture-warning', preview.warning));
  }
  if (isObject(preview.invisible)) {
    const found = Object.entries(preview.invisible).map(([name, times]) => `${name} × ${times}`);
    const text = trans.__('It holds characters that cannot be seen; they are written out: %1', found.join(', '));
    node.append(element('div', 'jp-agent-Picture-warning', text));
  }
  const shown = Object.entries(preview).filter(([name]) => !APART.has(name));
  const given = isObject(preview.arguments) ? Object.entries(preview.arguments) : [['arguments', approval.arguments]];
  for (const [name, value] of shown.length > 0 ? shown : given) {
    node.append(field(String(name), value));
  }
  return node;
}

function field(name: string, value: unknown): HTMLElement {
  const node = element('div', 'jp-agent-Picture-field');
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  const isLong = ['code', 'diff'].includes(name) || text.length > SHORT || text.includes('\n');
  const shown = element(isLong ? 'pre' : 'code', '', name === 'diff' ? '' : text);
  if (name === 'diff') {
    shown.append(...text.split('\n').map(diffLine));
  }
  node.append(element('span', 'jp-agent-Picture-name', name), shown);
  return node;
}

function diffLine(line: string): HTMLElement {
  const node = element('span', 'jp-agent-Picture-line', `${line}\n`);
  node.dataset.change = line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : 'none';
  return node;
}

/** Returns an element with this class and this text, made visible. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  text = ''
): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = visible(text);
  return node;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
