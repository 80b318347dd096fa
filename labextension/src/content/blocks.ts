/** The blocks of a Markdown text as parts of a page. */

import type { SyntaxNode, Tree } from '@lezer/common';

import type { IWords } from '../tokens';
import { calm } from './calm';
import { CodeView } from './code';
import { CopyButton } from './copy';
import { element, prose } from './element';
import type { INode, IPart } from './flow';
import { inline } from './inline';
import { languageOf } from './languages';
import { alignment, cellsOf, rowPart, table } from './tables';

/** A paragraph is read in pieces of about this size: emphasis does not reach over their ends. */
const PIECE = 4_000;

/** A piece ends at a blank, if there is one within so many characters. */
const SLACK = 500;

/** A table of more columns is shown as it is written. */
const MOST_COLUMNS = 100;

const EMPTY_LINE = /\n[ \t>]*\n/;

/** An item that begins with a box to tick. */
const BOX = /^\S{1,10}[ \t]+\[([ xX])\]/;

/** Headings are smaller here than on a page of their own, and lower in its outline. */
const LOWER = 2;

/** Returns the parts of a text. `isOpen` says that more of it is to come. */
export function parts(tree: Tree, text: string, isOpen: boolean, words: IWords): IPart[] {
  return new Blocks(text, isOpen, words).of(tree.topNode);
}

class Blocks {
  constructor(
    private readonly _text: string,
    private readonly _isOpen: boolean,
    private readonly _words: IWords
  ) {}

  of(parent: SyntaxNode): IPart[] {
    const found: IPart[] = [];
    for (let child = parent.firstChild; child; child = child.nextSibling) {
      const part = this._part(child);
      if (part) {
        found.push(part);
      }
    }
    return found;
  }

  private _part(node: SyntaxNode): IPart | null {
    const { name } = node.type;
    switch (name) {
      case 'Paragraph':
      case 'Task':
        return this._paragraph(node);
      case 'FencedCode':
      case 'CodeBlock':
        return this._code(node);
      case 'BulletList':
      case 'OrderedList':
        return this._list(node);
      case 'Blockquote':
        return this._container('blockquote', node, () => ({ node: element('blockquote', 'jp-agent-Markdown-quote') }));
      case 'Table':
        return this._table(node);
      case 'HorizontalRule':
        return { kind: 'rule', source: '', make: () => ({ node: element('hr', 'jp-agent-Markdown-rule') }) };
      case 'HTMLBlock':
      case 'CommentBlock':
      case 'ProcessingInstructionBlock':
        return this._markup(node);
      default:
        return /Heading\d$/.test(name) ? this._heading(node, Number(name.at(-1))) : null;
    }
  }

  private _container(kind: string, node: SyntaxNode, make: () => INode): IPart {
    return { kind, source: this._source(node), make, parts: () => this.of(node) };
  }

  private _paragraph(node: SyntaxNode): IPart {
    const text = this._written(node);
    const isLast = this._isLast(node);
    if (isLast) {
      const [header = '', line = '', ...more] = text.split('\n');
      const heads = header.startsWith('|') && more.length === 0 && /^[\s|:-]*$/.test(line) ? cellsOf(calm(header)) : [];
      if (heads.length > 0 && heads.length <= MOST_COLUMNS) {
        return table(heads, [], '', () => [], this._words);
      }
    }
    const pieces = piecesOf(text);
    const last = pieces.pop() ?? '';
    pieces.push(isLast ? calm(last) : last);
    if (pieces.length === 1) {
      return this._wording('paragraph', pieces[0] ?? '', () => element('p', 'jp-agent-Markdown-paragraph'));
    }
    return {
      kind: 'long paragraph',
      source: pieces.join(''),
      make: () => ({ node: element('p', 'jp-agent-Markdown-paragraph') }),
      parts: () => pieces.map(piece => this._wording('piece', piece, () => element('span', '')))
    };
  }

  private _heading(node: SyntaxNode, level: number): IPart {
    const text = this._written(node);
    return this._wording(`heading ${level}`, this._isLast(node) ? calm(text) : text, () =>
      element('div', 'jp-agent-Markdown-heading', '', {
        role: 'heading',
        'aria-level': String(Math.min(6, level + LOWER)),
        'data-level': String(level)
      })
    );
  }

  /** A part in which there are words and no blocks. */
  private _wording(kind: string, text: string, shell: () => HTMLElement): IPart {
    const make = (): INode => {
      const node = shell();
      node.append(...inline(text, this._words));
      return { node };
    };
    return { kind, source: text, make };
  }

  private _markup(node: SyntaxNode): IPart {
    const text = this._written(node);
    return { kind: 'markup', source: text, make: () => ({ node: prose('div', 'jp-agent-Markdown-markup', text) }) };
  }

  private _code(node: SyntaxNode): IPart {
    const info = node.getChild('CodeInfo');
    const name = info ? this._text.slice(info.from, info.to) : '';
    const text = (): string => dedented(this._codeText(node), this._indent(node));
    return new CodePart(this._source(node), text, languageOf(name) ? name : '', this._words);
  }

  private _codeText(node: SyntaxNode): string {
    return node
      .getChildren('CodeText')
      .map(({ from, to }) => this._text.slice(from, to))
      .join('');
  }

  /** The blanks before a fence, which are to be taken from its lines too. */
  private _indent(node: SyntaxNode): number {
    const before = node.from - (this._text.lastIndexOf('\n', node.from - 1) + 1);
    return node.type.name === 'FencedCode' && node.parent?.type.isTop ? before : 0;
  }

  private _list(node: SyntaxNode): IPart {
    const isOrdered = node.type.name === 'OrderedList';
    const start = isOrdered ? (/\d+/.exec(this._text.slice(node.from, node.from + 12))?.[0] ?? '1') : '';
    return new ListPart(
      start,
      this._source(node),
      () => this._isLoose(node),
      () => this._items(node)
    );
  }

  private _items(list: SyntaxNode): IPart[] {
    return list.getChildren('ListItem').map(item => {
      const box = BOX.exec(this._text.slice(item.from, item.from + 40))?.[1];
      const state = box === undefined || !item.getChild('Task') ? '' : box === ' ' ? 'todo' : 'done';
      return this._container(`item ${state}`, item, () => itemNode(state, this._words));
    });
  }

  /** Whether there is an empty line between the items, or in one of them between its blocks. */
  private _isLoose(list: SyntaxNode): boolean {
    if (!EMPTY_LINE.test(this._text.slice(list.from, list.to))) {
      return false;
    }
    let end = -1;
    for (const item of list.getChildren('ListItem')) {
      for (let child = item.firstChild; child; child = child.nextSibling) {
        if (child.type.name === 'QuoteMark') {
          continue;
        }
        if (end >= 0 && EMPTY_LINE.test(this._text.slice(end, child.from))) {
          return true;
        }
        end = child.to;
      }
    }
    return false;
  }

  private _table(node: SyntaxNode): IPart {
    const header = node.getChild('TableHeader');
    const line = node.getChild('TableDelimiter');
    const heads = header ? cellsOf(this._written(header)) : [];
    if (heads.length > MOST_COLUMNS) {
      return this._markup(node);
    }
    const marks = line ? cellsOf(this._text.slice(line.from, line.to)) : [];
    const rows = (): IPart[] =>
      node.getChildren('TableRow').map(row => {
        const given = cellsOf(this._written(row));
        const cells = heads.map((_, index) => given[index] ?? '');
        return rowPart(this._isLast(row) ? cells.map(calm) : cells, marks.map(alignment), this._words);
      });
    return table(heads, marks.map(alignment), this._source(node), rows, this._words);
  }

  /** The source of a part with parts: that it is still growing makes a difference to them. */
  private _source(node: SyntaxNode): string {
    return this._text.slice(node.from, node.to) + (this._isLast(node) ? '\0' : '');
  }

  /** Whether the rest of the text may go on with this node. */
  private _isLast(node: SyntaxNode): boolean {
    return this._isOpen && this._text.length - node.to < 2;
  }

  /** The text of a leaf without the marks of the blocks around it. */
  private _written(node: SyntaxNode): string {
    let text = '';
    let at = node.from;
    for (let child = node.firstChild; child; child = child.nextSibling) {
      if (/^(?:Quote|Header|Task)Mark/.test(child.type.name)) {
        text += this._text.slice(at, child.from);
        at = child.to;
      }
    }
    text += this._text.slice(at, node.to);
    const isMarkup = !/^(?:Para|Task|ATX|Setext|Table)/.test(node.type.name);
    return isMarkup ? text : text.trim().replace(/\n[ \t]+/g, '\n');
  }
}

class CodePart implements IPart {
  constructor(
    readonly source: string,
    private readonly _text: () => string,
    private readonly _language: string,
    private readonly _words: IWords
  ) {
    this.kind = `code ${_language}`;
  }

  readonly kind: string;

  make(): INode {
    const view = new CodeView();
    view.node.tabIndex = 0;
    const node = element('div', 'jp-agent-Markdown-codeBlock');
    const head = element('div', 'jp-agent-Markdown-codeHead');
    const label = element('span', 'jp-agent-Markdown-language', languageOf(this._language)?.label ?? '');
    head.append(label, new CopyButton(this._words, () => view.text).node);
    node.append(head, view.node);
    return { node, show: part => part instanceof CodePart && view.update(part._text(), part._language) };
  }
}

class ListPart implements IPart {
  constructor(
    private readonly _start: string,
    readonly source: string,
    private readonly _isLoose: () => boolean,
    readonly parts: () => IPart[]
  ) {
    this.kind = `list ${_start}`;
  }

  readonly kind: string;

  make(): INode {
    const node = this._start
      ? element('ol', 'jp-agent-Markdown-list', '', { start: String(Number(this._start)) })
      : element('ul', 'jp-agent-Markdown-list');
    const show = (part: IPart): void => {
      node.dataset.loose = String(part instanceof ListPart && part._isLoose());
    };
    return { node, show };
  }
}

function itemNode(state: string, words: IWords): INode {
  const node = element('li', state ? 'jp-agent-Markdown-task' : 'jp-agent-Markdown-item');
  if (!state) {
    return { node };
  }
  const label = state === 'done' ? words.__('Done') : words.__('To do');
  const box = element('input', 'jp-agent-Markdown-box', '', { type: 'checkbox', disabled: '', 'aria-label': label });
  box.toggleAttribute('checked', state === 'done');
  const body = element('div', 'jp-agent-Markdown-taskBody');
  node.append(box, body);
  return { node, body };
}

/** Returns the text in pieces; where one ends is not a matter of what comes after it. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  let from = 0;
  while (text.length - from > PIECE) {
    const blank = /\s/.exec(text.slice(from + PIECE, from + PIECE + SLACK));
    if (!blank && text.length - from <= PIECE + SLACK) {
      break;
    }
    let to = from + PIECE + (blank ? blank.index + 1 : SLACK);
    if (/[\ud800-\udbff]/.test(text[to - 1] ?? '')) {
      to += 1;
    }
    pieces.push(text.slice(from, to));
    from = to;
  }
  pieces.push(text.slice(from));
  return pieces;
}

function dedented(text: string, indent: number): string {
  return indent > 0 ? text.replace(new RegExp(`^ {1,${Math.min(3, indent)}}`, 'gm'), '') : text;
}
