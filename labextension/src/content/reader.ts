/**
 * Reads the blocks of a Markdown text that grows; what was read stays read.
 *
 * What is in a line is left alone: it is read when the block is shown, so that a long text costs little.
 */

import { TreeFragment, type Tree } from '@lezer/common';
import { parser, Table, TaskList } from '@lezer/markdown';
import type { BlockContext, LeafBlock, Line, MarkdownConfig } from '@lezer/markdown';

/** Blocks nest no deeper than this, a list takes two: what is deeper is text. */
const DEEPEST = 40;

/** No line that tells of a table begins with so many blanks. */
const MOST_BLANKS = 100;

/** As it is, but for lines of blanks: looking for a table in them takes the square of their number. */
const CAREFUL_TABLE: MarkdownConfig = {
  ...Table,
  parseBlock: (Table.parseBlock ?? []).map(spec => ({
    ...spec,
    endLeaf: (context: BlockContext, line: Line, leaf: LeafBlock): boolean =>
      !/^[>\s]*$/.test(context.peekLine().slice(0, MOST_BLANKS)) && (spec.endLeaf?.(context, line, leaf) ?? false)
  }))
};

const SHALLOW: MarkdownConfig = {
  parseBlock: [
    {
      name: 'TooDeep',
      before: 'LinkReference',
      parse(context: BlockContext, line: Line): boolean {
        if (context.depth < DEEPEST) {
          return false;
        }
        const from = context.lineStart + line.pos;
        context.addElement(context.elt('Paragraph', from, context.lineStart + line.text.length));
        context.nextLine();
        return true;
      }
    }
  ]
};

const BLOCKS = parser.configure([
  CAREFUL_TABLE,
  TaskList,
  SHALLOW,
  {
    remove: [
      ...['Escape', 'Entity', 'InlineCode', 'HTMLTag', 'Emphasis', 'HardBreak', 'Link', 'Image', 'LinkEnd'],
      'LinkReference'
    ]
  }
]);

/** How far an item goes that begins with an empty line, the parser tells in one way at once and in another by pieces. */
const EMPTY_ITEM = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$))+$/m;

export class Reader {
  /** Returns the tree of the text's blocks. */
  read(text: string): Tree {
    const tree = BLOCKS.parse(text, this._known(text));
    this._text = text;
    this._tree = tree;
    return tree;
  }

  private _known(text: string): readonly TreeFragment[] {
    if (!this._tree) {
      return [];
    }
    // Whether a paragraph ends before a line with a pipe in it is told by the line after that one.
    const line = Math.max(0, text.lastIndexOf('\n', commonPrefix(this._text, text) - 1));
    const from = Math.min(line, EMPTY_ITEM.exec(text)?.index ?? line);
    const change = { fromA: from, toA: this._text.length, fromB: from, toB: text.length };
    return TreeFragment.applyChanges(TreeFragment.addTree(this._tree), [change]);
  }

  private _text = '';
  private _tree: Tree | null = null;
}

function commonPrefix(one: string, other: string): number {
  if (other.startsWith(one)) {
    return one.length;
  }
  let at = 0;
  while (at < one.length && one.charCodeAt(at) === other.charCodeAt(at)) {
    at += 1;
  }
  return at;
}
