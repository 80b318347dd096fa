/**
 * How a Markdown text looks while it is still being written: what has begun looks as if it were complete, and what may
 * turn out to be one thing or another is not shown yet. Nothing here changes a text that is whole.
 */

/** What may become a list, a heading, a rule, a fence, or emphasis: nobody can tell before more of the line is there. */
const UNDECIDED = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$))*(?:[-*+=_~`#]*[ \t]*|(?:`{3,}|~{3,})[^`\n]*)$/;

/** Half a link or picture: its label is there, its address not yet. */
const HALF_LINK = /!?\[([^[\]\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+"[^"\n]*)?$/;

/** What begins so much before the end is not going to be emphasis. */
const FARTHEST = 300;

/** Returns the text without a last line of which nobody can tell yet what it will be, and without half a character. */
export function decided(whole: string): string {
  const text = whole.replace(/[\r\ud800-\udbff]$/, '');
  const from = text.lastIndexOf('\n') + 1;
  return text.length - from < 200 && UNDECIDED.test(text.slice(from)) ? text.slice(0, from) : text;
}

interface IOpen {
  readonly mark: string;
  readonly at: number;
}

/** Returns the text with what is open at its end closed. */
export function calm(text: string): string {
  const written = text.replace(HALF_LINK, '$1').trimEnd();
  const open: IOpen[] = [];
  const marks = /\\[^]|`+|\*+|_+|~~+/g;
  for (let found = marks.exec(written); found; found = marks.exec(written)) {
    const [mark] = found;
    const at = found.index;
    const after = written[marks.lastIndex] ?? '';
    if (mark.startsWith('\\')) {
      continue;
    }
    if (mark.startsWith('`')) {
      const end = codeEnd(written, marks.lastIndex, mark);
      if (end < 0) {
        const isNear = written.length - at < FARTHEST;
        return isNear ? closed(after ? written + mark : written.slice(0, at), open) : closed(written, open);
      }
      marks.lastIndex = end;
      continue;
    }
    const before = written[at - 1] ?? '';
    const top = open.at(-1);
    const closes = top !== undefined && top.mark[0] === mark[0] && /\S/.test(before);
    if (closes && top.mark === mark) {
      open.pop();
    } else if (!after) {
      return closed(written.slice(0, at), open);
    } else if (!closes && /\S/.test(after) && !/[\p{L}\p{N}]/u.test(before) && mark.length <= 3) {
      open.push({ mark, at });
    }
  }
  return closed(written, open);
}

function codeEnd(text: string, from: number, mark: string): number {
  for (let at = text.indexOf(mark, from); at >= 0;) {
    let end = at + mark.length;
    while (text[end] === '`') {
      end += 1;
    }
    if (end - at === mark.length) {
      return end;
    }
    at = text.indexOf(mark, end);
  }
  return -1;
}

function closed(text: string, open: ReadonlyArray<IOpen>): string {
  const written = text.trimEnd();
  const near = open.filter(({ at, mark }) => written.length - at < FARTHEST && at + mark.length < written.length);
  return written + near.reduceRight((marks, { mark }) => marks + mark, '');
}
