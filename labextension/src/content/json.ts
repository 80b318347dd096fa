/** JSON as text: laid out for reading without changing a digit, and read as far as it has come. */

/** A longer text is left as it is. */
const LONGEST = 500_000;

/** So is one that nests deeper. */
const DEEPEST = 60;

/** What is shorter than this, and holds nothing that nests, stays on one line. */
const ONE_LINE = 60;

/** Returns an object or array laid out on lines, every number and string as it is written; null for anything else. */
export function laidOut(text: string): string | null {
  if (text.length > LONGEST || !/^\s*[{[]/.test(text) || !isJson(text)) {
    return null;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const parts: string[] = [];
  let depth = 0;
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at] ?? '';
    const line = OPENING.has(token) ? onOneLine(tokens, at) : null;
    if (line) {
      parts.push(line.text);
      at = line.last;
      continue;
    }
    depth += OPENING.has(token) ? 1 : CLOSING.has(token) ? -1 : 0;
    if (depth > DEEPEST) {
      return null;
    }
    const breaks = `\n${'  '.repeat(depth)}`;
    const [before, after] = CLOSING.has(token)
      ? [breaks, '']
      : ['', OPENING.has(token) || token === ',' ? breaks : token === ':' ? ' ' : ''];
    parts.push(before, token, after);
  }
  return parts.join('');
}

const OPENING: ReadonlySet<string> = new Set(['{', '[']);
const CLOSING: ReadonlySet<string> = new Set(['}', ']']);

/** Returns what opens here on one line, and its last token; null where it is too long or nests. */
function onOneLine(
  tokens: ReadonlyArray<string>,
  from: number
): { readonly text: string; readonly last: number } | null {
  let text = '';
  for (let at = from; at < tokens.length && text.length < ONE_LINE; at += 1) {
    const token = tokens[at] ?? '';
    if (at > from && OPENING.has(token)) {
      return null;
    }
    text += token === ',' || token === ':' ? `${token} ` : token;
    if (CLOSING.has(token)) {
      return text.length < ONE_LINE ? { text, last: at } : null;
    }
  }
  return null;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A member of an object: its value where that is a text, else the JSON of it. */
export interface IMember {
  readonly name: string;
  readonly value: string;
  readonly isText: boolean;
  /** False for one whose end has not come. */
  readonly isWhole: boolean;
}

/** Returns the members of an object as far as it has come; null for what does not begin like one. */
export function members(json: string): IMember[] | null {
  let at = skip(json, 0);
  if (json[at] !== '{') {
    return at >= json.length ? [] : null;
  }
  const found: IMember[] = [];
  at = skip(json, at + 1);
  while (json[at] === '"') {
    const name = stringAt(json, at);
    at = skip(json, name.end);
    if (json[at] !== ':') {
      break;
    }
    at = skip(json, at + 1);
    const value = json[at] === '"' ? stringAt(json, at) : otherAt(json, at);
    if (value.end > at) {
      found.push({ name: name.value, ...value });
    }
    at = skip(json, value.end);
    if (json[at] !== ',') {
      break;
    }
    at = skip(json, at + 1);
  }
  return found;
}

type Value = Omit<IMember, 'name'> & { readonly end: number };

function skip(json: string, from: number): number {
  let at = from;
  while (/\s/.test(json[at] ?? '')) {
    at += 1;
  }
  return at;
}

/** Returns the string that begins here: what it says, of one that has no end yet what it says so far. */
function stringAt(json: string, from: number): Value {
  const close = closeOf(json, from);
  const inner = json.slice(from + 1, close < 0 ? undefined : close);
  const value = inner.replace(/\\(?:u([0-9a-f]{4})|u[0-9a-f]{0,3}$|([^u])|$)/gi, (_, code?: string, sign?: string) =>
    code !== undefined ? String.fromCharCode(parseInt(code, 16)) : sign !== undefined ? (ESCAPES[sign] ?? sign) : ''
  );
  return { value, isText: true, isWhole: close >= 0, end: close < 0 ? json.length : close + 1 };
}

/** Returns the place of the sign that closes the string which begins here; -1 where it has not come. */
function closeOf(json: string, from: number): number {
  let at = from + 1;
  while (at < json.length && json[at] !== '"') {
    at += json[at] === '\\' ? 2 : 1;
  }
  return at < json.length ? at : -1;
}

/** Returns the value that begins here and is no string, as it is written. */
function otherAt(json: string, from: number): Value {
  let depth = 0;
  let at = from;
  while (at < json.length) {
    const sign = json[at] ?? '';
    if (sign === '"') {
      const close = closeOf(json, at);
      at = close < 0 ? json.length : close + 1;
      continue;
    }
    if (depth === 0 && (sign === ',' || CLOSING.has(sign))) {
      break;
    }
    depth += OPENING.has(sign) ? 1 : CLOSING.has(sign) ? -1 : 0;
    at += 1;
    if (depth === 0 && CLOSING.has(sign)) {
      return { value: json.slice(from, at), isText: false, isWhole: true, end: at };
    }
  }
  return { value: json.slice(from, at).trimEnd(), isText: false, isWhole: at < json.length, end: at };
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f' };
