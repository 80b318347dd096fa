/** A change of a text, line by line: what was added and removed is told by colour, by sign, and to screen readers. */

import type { IWords } from '../tokens';
import { element } from './element';
import { Portions } from './more';

/** So much of a change is shown at first, and at each press of the button. */
const MOST_TEXT = 20_000;
const NEXT = { lines: 500, characters: 100_000 };

type Change = 'added' | 'removed' | 'place' | 'file' | 'none';

interface ILine {
  readonly change: Change;
  readonly text: string;
}

/** Returns a unified diff: how much changed, the first lines, and the rest when it is asked for. */
export function diff(text: string, words: IWords, options: { readonly lines?: number } = {}): HTMLElement {
  const lines = linesOf(text);
  const [added, removed] = (['added', 'removed'] as const).map(
    change => lines.filter(line => line.change === change).length
  ) as [number, number];
  const label = [
    words._n('%1 line added', '%1 lines added', added),
    words._n('%1 line removed', '%1 lines removed', removed)
  ].join(', ');
  const node = element('div', 'jp-agent-Diff', '', { role: 'group', 'aria-label': label });
  const counts = element('div', 'jp-agent-Diff-counts', '', { 'aria-hidden': 'true' });
  counts.append(
    element('span', 'jp-agent-Diff-plus', `+${added}`),
    ' ',
    element('span', 'jp-agent-Diff-minus', `−${removed}`)
  );
  let at = 0;
  const rows = (piece: string): HTMLElement => {
    const shown = element('div', 'jp-agent-Diff-lines');
    const count = piece.split('\n').length - (piece.endsWith('\n') ? 1 : 0);
    shown.append(...lines.slice(at, at + count).map(line => row(line, words)));
    at += count;
    return shown;
  };
  const first = { lines: options.lines ?? 10, characters: MOST_TEXT };
  node.append(counts, new Portions(lines.map(line => line.text).join('\n'), rows, words, first, NEXT).node);
  return node;
}

function row({ change, text }: ILine, words: IWords): HTMLElement {
  const node = element('div', 'jp-agent-Diff-line');
  node.dataset.change = change;
  const sign = { added: '+', removed: '−', place: '', file: '', none: '' }[change];
  const said = { added: words.__('added:'), removed: words.__('removed:'), place: '', file: '', none: '' }[change];
  node.append(element('span', 'jp-agent-Diff-sign', sign, { 'aria-hidden': 'true' }));
  if (said) {
    node.append(element('span', 'jp-agent-Diff-said', `${said} `));
  }
  node.append(element('span', 'jp-agent-Diff-text', text));
  return node;
}

/** Returns the lines with what they are. In a hunk, its own numbers tell: a removed `-- x` is no file's name. */
function linesOf(diff: string): ILine[] {
  const lines = diff.replace(/\n$/, '').split('\n');
  const hasHunks = lines.some(line => HUNK.test(line));
  let [old, fresh] = [0, 0];
  return lines.map(line => {
    const hunk = HUNK.exec(line);
    const isInside = old > 0 || fresh > 0 || !hasHunks;
    if (hunk && (old <= 0 || fresh <= 0 || !isInside)) {
      [old, fresh] = [Number(hunk[1] ?? 1), Number(hunk[2] ?? 1)];
      return { change: 'place', text: line };
    }
    if (line.startsWith('\\ ')) {
      return { change: 'none', text: line };
    }
    if (!isInside || (!hasHunks && /^(?:---|\+\+\+) /.test(line))) {
      return { change: 'file', text: line };
    }
    const sign = line[0];
    old -= sign === '+' ? 0 : 1;
    fresh -= sign === '-' ? 0 : 1;
    return sign === '+'
      ? { change: 'added', text: line.slice(1) }
      : sign === '-'
        ? { change: 'removed', text: line.slice(1) }
        : { change: 'none', text: line.replace(/^ /, '') };
  });
}

const HUNK = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/;
