/**
 * What stands in a line of Markdown: emphasis, code, links, pictures, line breaks.
 *
 * Markup that a model wrote is shown as the text it is. Of whatever nests deeper than anybody reads, the source is shown.
 */

import type { SyntaxNode } from '@lezer/common';
import { GFM, parser, type BlockContext, type Line } from '@lezer/markdown';

import type { IWords } from '../tokens';
import { element, plain, prose } from './element';
import { entity } from './entities';
import { address, bareAddress, link, pictureChip } from './links';

/** Elements nest no deeper than this. */
const DEEPEST = 20;

/** All lines are of one paragraph: the blocks were told apart before. */
const INLINE = parser.configure([
  GFM,
  {
    parseBlock: [
      {
        name: 'Whole',
        before: 'LinkReference',
        parse(context: BlockContext, line: Line): boolean {
          const from = context.lineStart;
          let text = line.text;
          while (context.nextLine()) {
            text += `\n${line.text}`;
          }
          const parts = context.parser.parseInline(text, from);
          context.addElement(context.elt('Paragraph', from, from + text.length, parts));
          return true;
        }
      }
    ]
  }
]);

/** Returns the nodes of a text in which no block begins. */
export function inline(text: string, words: IWords): Node[] {
  const whole = INLINE.parse(text).topNode.firstChild;
  return whole
    ? new Inline(text, words).inside(whole, whole.from, whole.to, 0)
    : [document.createTextNode(plain(text))];
}

const WRAPPERS: Readonly<Record<string, 'em' | 'strong' | 'del'>> = {
  Emphasis: 'em',
  StrongEmphasis: 'strong',
  Strikethrough: 'del'
};

const MARKS: ReadonlySet<string> = new Set(['EmphasisMark', 'StrikethroughMark', 'CodeMark']);

class Inline {
  constructor(
    private readonly _text: string,
    private readonly _words: IWords
  ) {}

  /** Returns the nodes between two places in a node of the tree. Neighbouring texts become one text node. */
  inside(parent: SyntaxNode, from: number, to: number, depth: number): Node[] {
    const nodes: Node[] = [];
    let text = '';
    let at = from;
    const flush = (): void => {
      if (text) {
        nodes.push(document.createTextNode(plain(text)));
        text = '';
      }
    };
    for (let child = parent.childAfter(from); child && child.from < to; child = child.nextSibling) {
      text += this._text.slice(at, child.from);
      at = child.to;
      const made = this._node(child, depth);
      if (typeof made === 'string') {
        text += made;
      } else {
        flush();
        nodes.push(...made);
      }
    }
    text += this._text.slice(at, to);
    flush();
    return nodes;
  }

  private _node(node: SyntaxNode, depth: number): Node[] | string {
    const source = this._text.slice(node.from, node.to);
    const { name } = node.type;
    if (MARKS.has(name)) {
      return '';
    }
    if (depth >= DEEPEST) {
      return source;
    }
    const wrapper = WRAPPERS[name];
    if (wrapper) {
      const made = element(wrapper, '');
      made.append(...this.inside(node, node.from, node.to, depth + 1));
      return [made];
    }
    switch (name) {
      case 'Escape':
        return source.slice(1);
      case 'Entity':
        return entity(source);
      case 'HardBreak':
        return [element('br', '')];
      case 'InlineCode':
        return [prose('code', 'jp-agent-Markdown-code', codeIn(source))];
      case 'URL':
        return this._bare(source, source);
      case 'Autolink':
        return this._bare(source.slice(1, -1), source);
      case 'Link':
        return this._link(node, depth);
      case 'Image':
        return this._image(node, depth);
      default:
        // Markup and whatever else has no look of its own.
        return source;
    }
  }

  private _bare(written: string, source: string): Node[] | string {
    const url = this._isInLink ? null : bareAddress(written);
    return url ? link(url, [document.createTextNode(plain(written))]) : source;
  }

  private _link(node: SyntaxNode, depth: number): Node[] {
    const label = labelOf(node);
    const written = this._target(node, label.to);
    const url = written === null || this._isInLink ? null : address(written);
    if (!url) {
      return this._asText(node, label, depth);
    }
    // What can be pressed stands beside the link, not in it.
    this._isInLink = true;
    const nodes = this.inside(node, label.from, label.to, depth + 1);
    this._isInLink = false;
    const chips = nodes.filter(isChip);
    const rest = nodes.filter(one => !isChip(one));
    const shown = rest.some(one => one.textContent?.trim())
      ? rest
      : [document.createTextNode(url.host || url.pathname)];
    return [...link(url, shown), ...chips];
  }

  private _image(node: SyntaxNode, depth: number): Node[] {
    const label = labelOf(node);
    const written = this._target(node, label.to);
    if (written === null) {
      return this._asText(node, label, depth);
    }
    const description = this.inside(node, label.from, label.to, depth + 1)
      .map(one => (isChip(one) ? '' : (one.textContent ?? '')))
      .join('');
    return [pictureChip(written, description, this._words)];
  }

  /** The address behind a label; in the label there may be others. */
  private _target(node: SyntaxNode, after: number): string | null {
    const url = node.getChildren('URL').find(({ from }) => from > after);
    return url ? this._text.slice(url.from, url.to) : null;
  }

  /** The marks as they are written, and what is between them as what it is. */
  private _asText(node: SyntaxNode, label: { from: number; to: number }, depth: number): Node[] {
    return [
      document.createTextNode(plain(this._text.slice(node.from, label.from))),
      ...this.inside(node, label.from, label.to, depth + 1),
      document.createTextNode(plain(this._text.slice(label.to, node.to)))
    ];
  }

  private _isInLink = false;
}

/** Returns the place of what stands between the first brackets of a link or picture. */
function labelOf(node: SyntaxNode): { readonly from: number; readonly to: number } {
  const [open, close] = node.getChildren('LinkMark');
  return { from: open?.to ?? node.from, to: close?.from ?? node.to };
}

function isChip(node: Node): boolean {
  return node instanceof HTMLButtonElement || (node instanceof HTMLElement && node.querySelector('button') !== null);
}

function codeIn(source: string): string {
  const marks = /^`+/.exec(source)?.[0].length ?? 0;
  const text = source.slice(marks, source.length - marks).replace(/\n/g, ' ');
  return /^ .* $/.test(text) && text.trim() ? text.slice(1, -1) : text;
}
