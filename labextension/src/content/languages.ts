/**
 * Languages that a code block may be labelled with, and how the text of some of them falls into coloured tokens.
 *
 * Python is read by its grammar, as in JupyterLab's editor. For the others it is enough to know their words, strings and
 * comments: their grammars would weigh more than everything else here.
 */

import type { Tree } from '@lezer/common';
import { highlightTree, tagHighlighter, tags } from '@lezer/highlight';
import { parser as python } from '@lezer/python';

/** How lines belong together: strings and comments of several lines are told apart by it. */
export type Family = 'python' | 'javascript' | 'json' | 'bash' | 'sql' | 'plain';

/** What is known of a language. */
export interface ILanguage {
  readonly label: string;
  readonly family: Family;
}

const NAMES: ReadonlyArray<readonly [label: string, family: Family, names: string]> = [
  ['Python', 'python', 'python py python3 py3 ipython ipython3 pycon sage'],
  ['JavaScript', 'javascript', 'javascript js mjs cjs jsx node'],
  ['TypeScript', 'javascript', 'typescript ts mts cts tsx'],
  ['JSON', 'json', 'json json5 jsonc jsonl ndjson ipynb'],
  ['Bash', 'bash', 'bash sh shell zsh console terminal shell-session'],
  ['PowerShell', 'plain', 'powershell ps1'],
  ['SQL', 'sql', 'sql sqlite postgresql mysql'],
  ['YAML', 'plain', 'yaml yml'],
  ['TOML', 'plain', 'toml'],
  ['INI', 'plain', 'ini cfg dotenv'],
  ['HTML', 'plain', 'html'],
  ['XML', 'plain', 'xml svg'],
  ['CSS', 'plain', 'css scss less'],
  ['Markdown', 'plain', 'markdown md mdx'],
  ['R', 'plain', 'r'],
  ['Julia', 'plain', 'julia jl'],
  ['C', 'plain', 'c h'],
  ['C++', 'plain', 'cpp c++ cc hpp'],
  ['C#', 'plain', 'csharp cs'],
  ['Java', 'plain', 'java'],
  ['Kotlin', 'plain', 'kotlin kt'],
  ['Go', 'plain', 'go golang'],
  ['Rust', 'plain', 'rust rs'],
  ['Ruby', 'plain', 'ruby rb'],
  ['PHP', 'plain', 'php'],
  ['Swift', 'plain', 'swift'],
  ['Scala', 'plain', 'scala'],
  ['Lua', 'plain', 'lua'],
  ['Perl', 'plain', 'perl pl'],
  ['Fortran', 'plain', 'fortran f90'],
  ['MATLAB', 'plain', 'matlab octave'],
  ['LaTeX', 'plain', 'latex tex'],
  ['Dockerfile', 'plain', 'dockerfile docker'],
  ['Makefile', 'plain', 'makefile make'],
  ['CSV', 'plain', 'csv tsv'],
  ['Diff', 'plain', 'diff patch'],
  ['Traceback', 'plain', 'traceback pytb'],
  ['Text', 'plain', 'text txt plain plaintext']
];

const LANGUAGES: ReadonlyMap<string, ILanguage> = new Map(
  NAMES.flatMap(([label, family, names]) => names.split(' ').map(name => [name, { label, family }] as const))
);

/** Tokens by the names of their colours; what no group takes is plain. */
const WORDS: Readonly<Partial<Record<Family, RegExp>>> = {
  json: /(?<property>"(?:[^"\\\n]|\\.)*"(?=\s*:))|(?<string>"(?:[^"\\\n]|\\.)*"?)|(?<number>-?\d[\d.eE+-]*)|(?<atom>\b(?:true|false|null)\b)/g,
  javascript:
    /(?<comment>\/\/[^\n]*|\/\*[^]*?(?:\*\/|$))|(?<string>"(?:[^"\\\n]|\\[^])*"?|'(?:[^'\\\n]|\\[^])*'?|`(?:[^`\\]|\\[^])*`?)|(?<number>\b\d[\w.]*)|(?<atom>\b(?:true|false|null|undefined|NaN|Infinity|this|super)\b)|(?<keyword>\b(?:abstract|as|async|await|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|export|extends|finally|for|from|function|if|implements|import|in|instanceof|interface|let|new|of|private|protected|public|readonly|return|static|switch|throw|try|type|typeof|var|void|while|with|yield)\b)/g,
  bash: /(?<comment>(?<![^\s])#[^\n]*)|(?<string>"(?:[^"\\]|\\[^])*"?|'[^']*'?)|(?<property>\$(?:\{[^}\n]*\}?|\w+|[?!@*#$]))|(?<keyword>(?<![\w./-])(?:if|then|elif|else|fi|for|in|do|done|while|until|case|esac|function|export|local|return|set|source)(?![\w./-]))/g,
  sql: /(?<comment>--[^\n]*|\/\*[^]*?(?:\*\/|$))|(?<string>'(?:[^']|'')*'?)|(?<number>\b\d[\d.]*)|(?<atom>\b(?:null|true|false)\b)|(?<keyword>\b(?:add|all|alter|and|as|asc|between|by|case|cast|create|cross|default|delete|desc|distinct|drop|else|end|exists|explain|from|full|group|having|if|in|index|inner|insert|into|is|join|key|left|like|limit|not|offset|on|or|order|outer|over|partition|primary|references|returning|right|select|set|table|then|union|unique|update|using|values|view|when|where|with)\b)/gi
};

/** Our classes for the tokens; their colours are those of JupyterLab's editor. */
const COLOURS = tagHighlighter(
  Object.entries({
    comment: [tags.comment],
    keyword: [tags.keyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword, tags.self],
    operator: [tags.operator, tags.operatorKeyword, tags.modifier],
    string: [tags.string, tags.regexp, tags.special(tags.string)],
    escape: [tags.escape],
    number: [tags.number],
    atom: [tags.atom, tags.bool, tags.null],
    def: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className), tags.labelName],
    property: [tags.propertyName, tags.attributeName],
    type: [tags.className, tags.typeName, tags.tagName],
    meta: [tags.meta, tags.annotation]
  }).flatMap(([name, of]) => of.map(tag => ({ tag, class: `jp-agent-Code-${name}` })))
);

/** A tree that is deeper than this stays uncoloured: colouring goes down it by recursion. */
const DEEPEST = 300;

/** Returns what is known of the language that an info string names, or null. */
export function languageOf(info: string): ILanguage | null {
  const name = /^\s*\{?\.?([\w+#.-]{1,20})/.exec(info)?.[1] ?? '';
  return LANGUAGES.get(name.toLowerCase()) ?? null;
}

/** A stretch of text and the class of its colour, if it has one. */
export type Token = readonly [text: string, className: string];

/** Returns the text as tokens; joined they are the text. */
export function tokens(text: string, family: Family): Token[] {
  const pattern = WORDS[family];
  return pattern ? found(text, pattern) : family === 'python' ? parsed(text) : [[text, '']];
}

function found(text: string, pattern: RegExp): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    const name = Object.entries(match.groups ?? {}).find(([, token]) => token !== undefined)?.[0];
    tokens.push([text.slice(at, match.index), ''], [match[0], `jp-agent-Code-${name}`]);
    at = match.index + match[0].length;
  }
  tokens.push([text.slice(at), '']);
  return tokens.filter(([part]) => part);
}

function parsed(text: string): Token[] {
  const tree = python.parse(text);
  if (isTooDeep(tree)) {
    return [[text, '']];
  }
  const tokens: Token[] = [];
  let at = 0;
  highlightTree(tree, COLOURS, (from, to, classes) => {
    if (from > at) {
      tokens.push([text.slice(at, from), '']);
    }
    tokens.push([text.slice(from, to), classes.slice(classes.lastIndexOf(' ') + 1)]);
    at = to;
  });
  if (at < text.length) {
    tokens.push([text.slice(at), '']);
  }
  return tokens;
}

function isTooDeep(tree: Tree): boolean {
  let depth = 0;
  let deepest = 0;
  tree.iterate({
    enter: () => {
      depth += 1;
      deepest = Math.max(deepest, depth);
    },
    leave: () => {
      depth -= 1;
    }
  });
  return deepest > DEEPEST;
}
