/** Character references such as `&amp;` and `&#8594;`: the numeric ones, and the names that people and models use. */

const NAMED: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
  copy: '©',
  reg: '®',
  trade: '™',
  deg: '°',
  plusmn: '±',
  times: '×',
  divide: '÷',
  middot: '·',
  bull: '•',
  hellip: '…',
  ndash: '–',
  mdash: '—',
  lsquo: '‘',
  rsquo: '’',
  ldquo: '“',
  rdquo: '”',
  laquo: '«',
  raquo: '»',
  larr: '←',
  uarr: '↑',
  rarr: '→',
  darr: '↓',
  harr: '↔',
  rArr: '⇒',
  ne: '≠',
  le: '≤',
  ge: '≥',
  asymp: '≈',
  infin: '∞',
  sum: '∑',
  minus: '−',
  radic: '√',
  alpha: 'α',
  beta: 'β',
  gamma: 'γ',
  delta: 'δ',
  epsilon: 'ε',
  lambda: 'λ',
  mu: 'μ',
  pi: 'π',
  sigma: 'σ',
  omega: 'ω',
  micro: 'µ',
  euro: '€',
  pound: '£',
  sect: '§',
  para: '¶',
  check: '✓'
};

/** Returns what a whole reference (`&…;`) stands for, else the reference itself. */
export function entity(reference: string): string {
  const numeric = /^&#(?:x([0-9a-f]{1,6})|([0-9]{1,7}));$/i.exec(reference);
  if (numeric) {
    const point = numeric[1] ? parseInt(numeric[1], 16) : parseInt(numeric[2] ?? '', 10);
    const isCharacter = point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    return isCharacter ? String.fromCodePoint(point) : '\ufffd';
  }
  const name = /^&(\w+);$/.exec(reference)?.[1] ?? '';
  return Object.hasOwn(NAMED, name) ? (NAMED[name] ?? reference) : reference;
}

/** Returns the text with its references and backslash escapes resolved, as in an address. */
export function unescaped(text: string): string {
  return text.replace(/\\([!-/:-@[-`{-~])|&(?:#\w{1,8}|\w{1,31});/g, (found, escaped: string | undefined) =>
    escaped === undefined ? entity(found) : escaped
  );
}
