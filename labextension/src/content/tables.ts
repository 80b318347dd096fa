/** Tables of Markdown as parts of a page. They scroll by themselves where there is no room for them. */

import type { IWords } from '../tokens';
import { element } from './element';
import type { INode, IPart } from './flow';
import { inline } from './inline';

/** How the cells of a column stand. */
export type Alignment = 'left' | 'center' | 'right' | '';

/** Returns what the line below the head says of a column. */
export function alignment(mark: string): Alignment {
  const [left, right] = [mark.startsWith(':'), mark.endsWith(':')];
  return left && right ? 'center' : right ? 'right' : left ? 'left' : '';
}

/** Returns a table whose rows are parts of it. */
export function table(
  heads: ReadonlyArray<string>,
  alignments: ReadonlyArray<Alignment>,
  source: string,
  rows: () => IPart[],
  words: IWords
): IPart {
  const make = (): INode => {
    const node = element('div', 'jp-agent-Markdown-tableScroll', '', { tabindex: '0' });
    const inner = element('table', 'jp-agent-Markdown-table');
    const [head, body] = [element('thead', ''), element('tbody', '')];
    head.append(rowNode('th', heads, alignments, words));
    inner.append(head, body);
    node.append(inner);
    return { node, body };
  };
  return { kind: `table ${JSON.stringify([heads, alignments])}`, source, make, parts: rows };
}

/** Returns a row of a table. */
export function rowPart(cells: ReadonlyArray<string>, alignments: ReadonlyArray<Alignment>, words: IWords): IPart {
  return {
    kind: 'row',
    source: cells.join('\n'),
    make: () => ({ node: rowNode('td', cells, alignments, words) })
  };
}

function rowNode(
  name: 'td' | 'th',
  cells: ReadonlyArray<string>,
  alignments: ReadonlyArray<Alignment>,
  words: IWords
): HTMLElement {
  const row = element('tr', '');
  cells.forEach((cell, index) => {
    const node = element(name, '', '', name === 'th' ? { scope: 'col' } : {});
    const side = alignments[index];
    if (side) {
      node.dataset.align = side;
    }
    node.append(...inline(cell, words));
    row.append(node);
  });
  return row;
}

/** Returns the cells of a table's line. */
export function cellsOf(line: string): string[] {
  const cells: string[] = [];
  let from = 0;
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === '\\') {
      at += 1;
    } else if (line[at] === '|') {
      cells.push(line.slice(from, at));
      from = at + 1;
    }
  }
  cells.push(line.slice(from));
  const inner = cells.map(cell => cell.trim().replace(/\\\|/g, '|'));
  if (inner.length > 1 && inner[0] === '') {
    inner.shift();
  }
  if (inner.length > 1 && inner.at(-1) === '') {
    inner.pop();
  }
  return inner;
}
