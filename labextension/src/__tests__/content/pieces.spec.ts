/**
 * Code, changes, output and arguments on the page.
 *
 * @jest-environment jsdom
 */

import { argumentsLine, argumentsTable } from '../../content/args';
import { code, CodeView } from '../../content/code';
import { CopyButton } from '../../content/copy';
import { diff } from '../../content/diff';
import { laidOut, members } from '../../content/json';
import { output } from '../../content/output';
import { words } from './words';

function colours(node: HTMLElement): string[] {
  return [...node.querySelectorAll('[class^=jp-agent-Code-]')]
    .filter(one => !/-(section|text)$/.test(one.className))
    .map(one => `${one.className.replace('jp-agent-Code-', '')} ${one.textContent}`);
}

describe('code', () => {
  test('has its colours', () => {
    expect(colours(code('def f(x):\n    return "a\\n" + 1 if True else None  # c', 'python'))).toEqual([
      'keyword def',
      'def f',
      'keyword return',
      'string "a',
      'escape \\n',
      'string "',
      'operator +',
      'number 1',
      'keyword if',
      'atom True',
      'keyword else',
      'atom None',
      'comment # c'
    ]);
    expect(colours(code('{"a": [1, null]}', 'json'))).toEqual(['property "a"', 'number 1', 'atom null']);
    expect(colours(code('const a: string = `b`; // c', 'ts'))).toEqual(['keyword const', 'string `b`', 'comment // c']);
    expect(colours(code('for x in "$a" $B; do # c', 'bash'))).toEqual([
      'keyword for',
      'keyword in',
      'string "$a"',
      'property $B',
      'keyword do',
      'comment # c'
    ]);
    expect(colours(code("SELECT a FROM t WHERE b = 'it''s' -- c", 'sql'))).toEqual([
      'keyword SELECT',
      'keyword FROM',
      'keyword WHERE',
      "string 'it''s'",
      'comment -- c'
    ]);
    expect(colours(code('def f(): pass', 'yaml'))).toEqual([]);
    expect(colours(code('def f(): pass'))).toEqual([]);
  });

  test.each(['python', 'js', 'json', 'bash', 'sql', 'text'])('is the text it was, in sections or not: %s', language => {
    const part = 'x = """\nlong\n"""\nif x:\n    y = `a`\n/* b\n*/ "c" \'d\' # e\n\n';
    const text = part.repeat(200);
    expect(code(text, language).textContent).toBe(text);
    expect(code(text.trimEnd(), language).textContent).toBe(text.trimEnd());
  });

  test.each(['python', 'js', 'json', 'bash', 'sql'])(
    'that grows looks as if it had been there at once: %s',
    language => {
      const text =
        'class A:\n    """Doc\n\n    # no comment\n    """\n    x = {"a": [1, 2]}  /* c\n    */ `t`\n\n'.repeat(30);
      const view = new CodeView();
      for (let at = 0; at <= text.length; at += 97) {
        view.update(text.slice(0, at), language);
        expect(view.node.outerHTML).toBe(code(text.slice(0, at), language).outerHTML);
      }
      view.update('other', language);
      expect(view.text).toBe('other');
    }
  );

  test('keeps the sections that are finished', () => {
    const view = new CodeView();
    view.update('x = 1\n'.repeat(200), 'python');
    const before = [...view.node.querySelectorAll('.jp-agent-Code-section')];
    view.update('x = 1\n'.repeat(230), 'python');
    const after = [...view.node.querySelectorAll('.jp-agent-Code-section')];
    expect(before.length).toBeGreaterThan(2);
    expect(after.slice(0, before.length - 1)).toEqual(before.slice(0, -1));
    expect(after.slice(0, before.length - 1).every((one, index) => one === before[index])).toBe(true);
  });

  test('of a long text, or a deep one, has no colours', () => {
    expect(colours(code('x = "a"\n'.repeat(10_000), 'python'))).toEqual([]);
    expect(colours(code('('.repeat(5_000), 'python'))).toEqual([]);
    expect(colours(code(`x = ${'a.'.repeat(2_000)}b`, 'python'))).toEqual([]);
    expect(code('['.repeat(100_000), 'json').textContent).toHaveLength(100_000);
  });
});

describe('a copy button', () => {
  afterEach(() => jest.useRealTimers());

  test('copies, says so, and rests', async () => {
    jest.useFakeTimers();
    const copied: string[] = [];
    Object.assign(navigator, { clipboard: { writeText: async (text: string) => void copied.push(text) } });
    const { node } = new CopyButton(words, () => 'the text');
    node.querySelector('button')?.click();
    await jest.advanceTimersByTimeAsync(0);
    expect(copied).toEqual(['the text']);
    expect(node.querySelector('button')?.textContent).toBe('Copied');
    expect(node.querySelector('[role=status]')?.textContent).toBe('Copied');
    await jest.advanceTimersByTimeAsync(3_000);
    expect(node.querySelector('button')?.textContent).toBe('Copy');
    expect(node.querySelector('[role=status]')?.textContent).toBe('');
  });

  test('falls back to what older pages have, and says when that fails too', async () => {
    Object.assign(navigator, { clipboard: undefined });
    let selected = '';
    document.execCommand = () => {
      selected = (document.activeElement as HTMLTextAreaElement).value;
      return true;
    };
    const button = new CopyButton(words, () => 'the text');
    document.body.append(button.node);
    await button.copy();
    expect(selected).toBe('the text');
    expect(document.querySelector('textarea')).toBeNull();
    expect(button.node.querySelector('button')?.textContent).toBe('Copied');
    document.execCommand = () => false;
    await button.copy();
    expect(button.node.querySelector('button')?.textContent).toMatch(/^Not copied/);
  });
});

describe('a diff', () => {
  const TEXT = '--- a/x\n+++ b/x\n@@ -1,4 +1,4 @@\n a\n--- old\n-b\n+++ new\n+\n c\n\\ No newline at end of file\n';
  const lines = (node: HTMLElement): string[][] =>
    [...node.querySelectorAll<HTMLElement>('.jp-agent-Diff-line')].map(line => [
      line.dataset.change ?? '',
      line.querySelector('.jp-agent-Diff-sign')?.textContent ?? '',
      line.querySelector('.jp-agent-Diff-text')?.textContent ?? ''
    ]);

  test('tells its lines by colour and by sign', () => {
    expect(lines(diff(TEXT, words, { lines: 20 }))).toEqual([
      ['file', '', '--- a/x'],
      ['file', '', '+++ b/x'],
      ['place', '', '@@ -1,4 +1,4 @@'],
      ['none', '', 'a'],
      ['removed', '−', '-- old'],
      ['removed', '−', 'b'],
      ['added', '+', '++ new'],
      ['added', '+', ''],
      ['none', '', 'c'],
      ['none', '', '\\ No newline at end of file']
    ]);
  });

  test('counts, for eyes and ears', () => {
    const node = diff(TEXT, words);
    expect(node.getAttribute('aria-label')).toBe('2 lines added, 2 lines removed');
    expect(node.querySelector('.jp-agent-Diff-counts')?.textContent).toBe('+2 −2');
    expect(node.querySelector('.jp-agent-Diff-said')?.textContent).toBe('removed: ');
  });

  test('shows its first lines, and the rest when it is asked for', () => {
    const node = diff(`@@ -0,0 +1,30 @@\n${'+x\n'.repeat(30)}`, words);
    expect(lines(node)).toHaveLength(10);
    const button = node.querySelector('button');
    expect(button?.textContent).toBe('21 more lines');
    button?.click();
    expect(lines(node)).toHaveLength(31);
    expect(button?.hidden).toBe(true);
  });

  test('of several files, and of lines without a place', () => {
    const two = '--- a\n+++ a\n@@ -1 +1 @@\n-a\n+b\n--- c\n+++ c\n@@ -1 +1 @@\n-c\n+d\n';
    expect(lines(diff(two, words, { lines: 20 })).map(([change]) => change)).toEqual(
      'file file place removed added file file place removed added'.split(' ')
    );
    expect(lines(diff(' a\n-b\n+c', words)).map(([change]) => change)).toEqual(['none', 'removed', 'added']);
  });

  test('hides nothing', () => {
    expect(lines(diff('+a\u200bb\u202e', words))).toEqual([['added', '+', 'a⟨U+200B⟩b⟨U+202E⟩']]);
  });
});

describe('output', () => {
  test('shows its first lines, then more of them', () => {
    const text = Array.from({ length: 10_000 }, (_, index) => `line ${index}`).join('\n');
    const node = output(text, words);
    expect(node.textContent).toMatch(/^line 0\n[^]*line 19\n9,980 more lines$/);
    node.querySelector('button')?.click();
    expect(node.textContent).toMatch(/line 1019\n8,980 more lines$/);
    for (let button = node.querySelector('button'); button && !button.hidden;) {
      button.click();
    }
    expect([...node.querySelectorAll('pre')].map(one => one.textContent).join('')).toBe(text);
    expect(output(text, words, { lines: 3 }).textContent).toMatch(/line 2\n9,997 more lines$/);
  });

  test('of one line without end stays short', () => {
    const text = 'x'.repeat(5_000_000);
    const node = output(text, words);
    expect(node.textContent?.length).toBeLessThan(9_000);
    expect(node.querySelector('button')?.textContent).toBe('4,992,000 more characters');
    node.querySelector('button')?.click();
    expect(node.querySelectorAll('pre')).toHaveLength(2);
  });

  test('cuts no character in two', () => {
    const node = output('😀'.repeat(10_001), words, { lines: 1 });
    expect(node.querySelector('pre')?.textContent).toMatch(/^😀+$/u);
    expect(output(`a${'😀'.repeat(10_001)}`, words).querySelector('pre')?.textContent).toMatch(/^a😀+$/u);
  });

  test.each([
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b[38;5;12mx\u001b[K', 'x'],
    ['\u001b]0;title\u0007x', 'x'],
    ['\u001b]8;;https://evil.test\u001b\\link\u001b]8;;\u001b\\', 'link'],
    ['\u009b1mx', 'x'],
    ['\u001bcx\u001b', 'x'],
    ['10%\r50%\r100%\ndone\r\n', '100%\ndone\n'],
    ['a\u0008\u202eb', 'a\ufffd\ufffdb']
  ])('is not told anything by codes: %j', (text, expected) => {
    expect(output(text, words).querySelector('pre')?.textContent).toBe(expected);
  });

  test('that is JSON is laid out, and as it came when that is asked for', () => {
    const text = '{"a": 1, "b": [{"c": 12345678901234567890}], "d": "x"}';
    const node = output(text, words);
    expect(node.querySelector('pre')?.textContent).toBe(
      '{\n  "a": 1,\n  "b": [\n    {"c": 12345678901234567890}\n  ],\n  "d": "x"\n}'
    );
    const button = node.querySelector<HTMLButtonElement>('button[aria-pressed]');
    button?.click();
    expect(node.querySelector('pre')?.textContent).toBe(text);
    expect(button?.getAttribute('aria-pressed')).toBe('true');
    button?.click();
    expect(node.querySelector('pre')?.textContent).toContain('\n');
  });

  test('that is a traceback begins with what went wrong', () => {
    const plain =
      'Traceback (most recent call last):\n  File "a.py", line 1\n    1/0\nZeroDivisionError: division by zero\n';
    expect(output(plain, words).firstElementChild?.textContent).toBe('ZeroDivisionError: division by zero');
    const cell = `${'-'.repeat(75)}\nValueError                                Traceback (most recent call last)\nCell In[1], line 1\n----> 1 raise ValueError("no")\n\nValueError: no`;
    expect(output(cell, words).firstElementChild?.textContent).toBe('ValueError: no');
    expect(output('no Traceback here', words).querySelector('.jp-agent-Output-fault')).toBeNull();
  });

  test('of what takes long to look at does not', () => {
    const started = performance.now();
    for (const text of [
      '\u001b]'.repeat(1e6),
      '\u001b['.repeat(1e6),
      '\r'.repeat(2e6),
      `{"a": ${'['.repeat(4e5)}`,
      '{'.repeat(2e6),
      ' '.repeat(2e6),
      '"'.repeat(2e6)
    ]) {
      output(text, words);
    }
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe('JSON', () => {
  test.each([
    ['{}', '{}'],
    [' [ 1 , 2.50,\n-0e1 ] ', '[1, 2.50, -0e1]'],
    ['{"a":{"b":{}}}', '{\n  "a": {\n    "b": {}\n  }\n}'],
    ['{"a": "{[,:\\"]}"}', '{"a": "{[,:\\"]}"}'],
    [`["${'x'.repeat(80)}"]`, `[\n  "${'x'.repeat(80)}"\n]`]
  ])('is laid out: %s', (text, expected) => {
    expect(laidOut(text)).toBe(expected);
    expect(JSON.parse(laidOut(text) ?? '')).toEqual(JSON.parse(text));
  });

  test.each(['1', '"a"', 'null', '{a: 1}', '[1,]', '', '['.repeat(1_000) + ']'.repeat(1_000)])('is left: %s', text => {
    expect(laidOut(text)).toBeNull();
  });

  test('is read as far as it has come', () => {
    const text = '{"path": "a\\n\\u00e9\\"b", "n": -1.5, "list": [1, {"x": "]}"}], "yes": true, "last": "end"}';
    const whole = Object.entries(JSON.parse(text) as object).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : value,
      true
    ]);
    expect(
      members(text)?.map(({ name, value, isText, isWhole }) => [name, isText ? value : JSON.parse(value), isWhole])
    ).toEqual(whole);
    for (let cut = 0; cut < text.length; cut += 1) {
      const found = members(text.slice(0, cut)) ?? [];
      found.slice(0, -1).forEach((member, index) => expect(member.name).toBe(whole[index]?.[0]));
      const last = found.at(-1);
      if (last?.isText) {
        expect(String(whole[found.length - 1]?.[1]).startsWith(last.value)).toBe(true);
      }
    }
    expect(members('[1]')).toBeNull();
    expect(members('')).toEqual([]);
  });
});

describe('arguments', () => {
  test.each([
    ['{"path": "a.csv", "limit": 10, "all": true}', 'path="a.csv", limit=10, all=true'],
    ['{"code": "import x\\n\\nfor i in y:\\n    print(i)"}', 'import x ↵ for i in y: ↵ print(i)'],
    ['{"path": "a", "content": "b\\n  c"}', 'path="a", content="b ↵ c"'],
    ['{"path": "a.c', 'path="a.c…'],
    ['{"path": "a", "opt": {"x": [1', 'path="a", opt={"x": [1…'],
    ['{"pa', ''],
    ['', ''],
    ['{}', ''],
    ['not json', 'not json'],
    ['[1, 2]', '[1, 2]'],
    ['{"a": "\\u202eb\\u0007"}', 'a="\ufffdb\\u0007"']
  ])('on a line: %s', (given, line) => {
    expect(argumentsLine('run_cell', given)).toBe(line);
    expect(argumentsLine('tool', '{"code": "x"}')).toBe('code="x"');
  });

  test('on a line are cut', () => {
    const line = argumentsLine('tool', JSON.stringify({ a: 'x'.repeat(1e6), b: 1 }));
    expect(line.length).toBe(120);
    expect(line.endsWith('…')).toBe(true);
  });

  test('as names and values, code as code', () => {
    const given = {
      path: 'a.json',
      limit: 10,
      code: 'import x',
      content: '[1]',
      note: 'two\nlines',
      options: { a: { b: 1 } }
    };
    const node = argumentsTable(JSON.stringify(given), words);
    expect([...node.querySelectorAll('dt')].map(one => one.textContent)).toEqual(Object.keys(given));
    const values = [...node.querySelectorAll('dd')];
    expect(values.map(one => one.querySelector('code')?.textContent)).toEqual([
      'a.json',
      '10',
      'import x',
      '[1]',
      'two\nlines',
      '{\n  "a": {"b": 1}\n}'
    ]);
    expect(values.map(one => one.querySelector('pre') !== null)).toEqual([false, false, true, true, true, true]);
    expect(colours(values[2] as HTMLElement)).toEqual(['keyword import']);
    expect(colours(values[3] as HTMLElement)).toEqual(['number 1']);
    expect(argumentsTable('{}', words).textContent).toBe('No arguments');
    expect(argumentsTable('broken', words).textContent).toContain('broken');
  });

  test('of any length are shown in portions', () => {
    const node = argumentsTable(JSON.stringify({ code: 'x = 1\n'.repeat(5_000) }), words);
    expect(node.querySelector('pre')?.textContent).toBe('x = 1\n'.repeat(20));
    expect(node.querySelector('button')?.textContent).toBe('4,980 more lines');
  });
});
