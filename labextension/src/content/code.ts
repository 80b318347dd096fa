/**
 * Code, coloured where its language is known, in the colours of JupyterLab's editor.
 *
 * The text is cut into sections where it is cheap to see that one may begin, and each is coloured by itself: a text that
 * grows makes only its last section anew, and comes out as if it had been there at once.
 */

import { element, plain, prose } from './element';
import { languageOf, tokens, type Family } from './languages';

/** A longer text stays uncoloured. */
const LONGEST = 50_000;

/** A section ends at the first good place after this many lines, and at any place after so many, or so much text. */
const GOOD_LINES = 60;
const MOST_LINES = 200;
const MOST_TEXT = 8_000;

/** Returns the text as a code block. */
export function code(text: string, language = ''): HTMLElement {
  const view = new CodeView();
  view.update(text, language);
  return view.node;
}

/** A code block that may grow. */
export class CodeView {
  constructor() {
    this.node = element('pre', 'jp-agent-Code');
    this._code = element('code', 'jp-agent-Code-text');
    this.node.append(this._code);
  }

  readonly node: HTMLElement;

  /** What is shown. */
  get text(): string {
    return this._sections.join('');
  }

  update(text: string, language: string): void {
    const family = text.length > LONGEST ? 'plain' : (languageOf(language)?.family ?? 'plain');
    if (family !== this._family) {
      this._family = family;
      this._sections = [];
      this._code.replaceChildren();
    }
    const sections = sectionsOf(plain(text), family);
    const shown = this._sections;
    let same = 0;
    while (same < sections.length && sections[same] === shown[same]) {
      same += 1;
    }
    for (let extra = shown.length; extra > same; extra -= 1) {
      this._code.lastChild?.remove();
    }
    this._code.append(...sections.slice(same).map(section => sectionNode(section, family)));
    this._sections = sections;
  }

  private readonly _code: HTMLElement;
  private _family: Family = 'plain';
  private _sections: string[] = [];
}

function sectionNode(text: string, family: Family): HTMLElement {
  const node = element('span', 'jp-agent-Code-section');
  for (const [part, className] of text.length > MOST_TEXT ? [[text, ''] as const] : tokens(text, family)) {
    node.append(className ? prose('span', className, part) : part);
  }
  return node;
}

/** Returns the text in sections, each of whole lines. What follows a section has no say in where it begins or ends. */
function sectionsOf(text: string, family: Family): string[] {
  const sections: string[] = [];
  const state = new Scan(family);
  let from = 0;
  let lines = 0;
  for (let at = 0; at < text.length;) {
    const end = text.indexOf('\n', at) + 1 || text.length;
    const line = text.slice(at, end);
    const isFull = lines >= MOST_LINES || (lines > 0 && end - from > MOST_TEXT);
    if (isFull || (lines >= GOOD_LINES && state.mayBegin(line))) {
      sections.push(text.slice(from, at));
      from = at;
      lines = 0;
    }
    state.read(line);
    lines += 1;
    at = end;
  }
  if (from < text.length) {
    sections.push(text.slice(from));
  }
  return sections;
}

/** Strings and comments, as far as they matter to what spans lines. */
const MARKS: Readonly<Partial<Record<Family, RegExp>>> = {
  python: /"""|'''|#|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?/g,
  javascript: /\/\/|\/\*|`|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?/g
};
const CLOSING: Readonly<Record<string, string>> = { '"""': '"""', "'''": "'''", '/*': '*/', '`': '`' };

/** Follows lines roughly: a mistake costs a colour, never text. */
class Scan {
  constructor(family: Family) {
    this._family = family;
  }

  /** Whether a section may begin with this line: at the margin, and in no string or comment of several lines. */
  mayBegin(line: string): boolean {
    return (
      !MARKS[this._family] ||
      (this._open === '' && /^[\w@#$/"'`]/.test(line) && !/^(?:el(?:se|if)|except|finally|catch)\b/.test(line))
    );
  }

  read(line: string): void {
    const marks = MARKS[this._family];
    for (let at = 0; marks && at < line.length;) {
      if (this._open) {
        const end = line.indexOf(this._open, at);
        if (end < 0) {
          return;
        }
        at = end + this._open.length;
        this._open = '';
      }
      marks.lastIndex = at;
      const mark = marks.exec(line)?.[0];
      if (mark === undefined || mark === '#' || mark === '//') {
        return;
      }
      this._open = CLOSING[mark] ?? '';
      at = marks.lastIndex;
    }
  }

  private readonly _family: Family;
  private _open = '';
}
