/** What a tool was asked to do: its arguments on one line, and as a table. */

import type { IWords } from '../tokens';
import { code } from './code';
import { element, plain } from './element';
import { laidOut, members, type IMember } from './json';
import { Portions } from './more';

/** The line is cut here. */
const LINE = 120;

/** A value of more lines or characters is shown in portions. */
const FIRST = { lines: 20, characters: 4_000 };
const NEXT = { lines: 500, characters: 50_000 };

/** Arguments that need no name: the tool's name says what they are. */
const OBVIOUS: ReadonlyMap<string, string> = new Map([
  ['run_cell', 'code'],
  ['ask_user', 'question']
]);

/** Returns the arguments of a call as `name=value, …` on one line, as far as they have come. */
export function argumentsLine(name: string, argumentsJson: string): string {
  const found = members(argumentsJson.slice(0, 20_000));
  if (!found) {
    return oneLine(argumentsJson);
  }
  const [only] = found;
  if (only?.isText && found.length === 1 && only.name === OBVIOUS.get(name)) {
    return oneLine(withoutBreaks(only.value));
  }
  return oneLine(found.map(member => `${member.name}=${valueOf(member)}`).join(', '));
}

function valueOf({ value, isText, isWhole }: IMember): string {
  if (!isText) {
    return isWhole ? value : `${value}…`;
  }
  const quoted = JSON.stringify(withoutBreaks(value.slice(0, 2 * LINE)));
  return isWhole ? quoted : `${quoted.slice(0, -1)}…`;
}

/** As the client says it: of a text of several lines, such as code, without the line breaks and indentation. */
function withoutBreaks(text: string): string {
  return text.includes('\n')
    ? text
        .split('\n')
        .map(line => line.trim())
        .filter(Boolean)
        .join(' ↵ ')
    : text;
}

function oneLine(text: string): string {
  const line = plain(text.slice(0, 20 * LINE))
    .split(/\s+/)
    .filter(Boolean)
    .join(' ');
  return line.length <= LINE ? line : `${line.slice(0, LINE - 1)}…`;
}

/** Returns the arguments as names and values; code as code. */
export function argumentsTable(argumentsJson: string, words: IWords): HTMLElement {
  const found = members(argumentsJson);
  if (!found) {
    return block(laidOut(argumentsJson) ?? argumentsJson, 'json', words);
  }
  if (found.length === 0) {
    return element('div', 'jp-agent-Arguments-none', words.__('No arguments'));
  }
  const path = found.find(({ name, isText }) => name === 'path' && isText)?.value ?? '';
  const node = element('dl', 'jp-agent-Arguments');
  for (const member of found) {
    const value = element('dd', 'jp-agent-Arguments-value');
    value.append(shown(member, path, words));
    node.append(element('dt', 'jp-agent-Arguments-name', member.name), value);
  }
  return node;
}

function shown({ name, value, isText, isWhole }: IMember, path: string, words: IWords): HTMLElement {
  if (!isText) {
    const lines = laidOut(value) ?? value;
    return lines.includes('\n') ? block(lines, 'json', words) : inlineCode(value);
  }
  if (name === 'code') {
    return block(value, 'python', words);
  }
  if (name === 'content' || value.includes('\n') || value.length > LINE) {
    return block(value, name === 'content' ? path.slice(path.lastIndexOf('.') + 1) : '', words);
  }
  return inlineCode(isWhole ? value : `${value}…`);
}

function inlineCode(text: string): HTMLElement {
  const node = element('code', 'jp-agent-Arguments-text');
  node.textContent = plain(text);
  return node;
}

function block(text: string, language: string, words: IWords): HTMLElement {
  return new Portions(text, piece => code(piece, language), words, FIRST, NEXT).node;
}
