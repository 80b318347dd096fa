/**
 * Markdown on the page: what it looks like, what stays when it grows, and what it costs.
 *
 * @jest-environment jsdom
 */

import { MarkdownBlock } from '../../content/markdown';
import { words } from './words';

function shown(text: string, isStreaming = false): HTMLElement {
  const block = new MarkdownBlock(words);
  block.update(text, isStreaming);
  return block.node;
}

/** The page without classes and wrappers, to be read. */
function outline(node: Node): string {
  if (!(node instanceof HTMLElement)) {
    return node.textContent ?? '';
  }
  const inner = [...node.childNodes].map(outline).join('');
  const name = node.tagName.toLowerCase();
  const isPlain = ['div', 'span', 'p'].includes(name) && node.getAttribute('role') !== 'heading';
  return isPlain ? (name === 'p' ? `${inner}¶` : inner) : `<${name}>${inner}</${name}>`;
}

describe('Markdown', () => {
  test.each([
    ['a *b* **c** ~~d~~ `e`', 'a <em>b</em> <strong>c</strong> <del>d</del> <code>e</code>¶'],
    ['***both***', '<em><strong>both</strong></em>¶'],
    ['a\nb  \nc\\\nd', 'a\nb<br></br>c<br></br>d¶'],
    ['- a\n  1. b\n\n     c\n- d', '<ul><li>a¶<ol><li>b¶c¶</li></ol></li><li>d¶</li></ul>'],
    ['- [x] a\n- [ ] b', '<ul><li><input></input>a¶</li><li><input></input>b¶</li></ul>'],
    ['> a\n> > b\n> c', '<blockquote>a¶<blockquote>b\nc¶</blockquote></blockquote>'],
    ['a\n\n---\nb', 'a¶<hr></hr>b¶'],
    ['&amp; &lt;b&gt; &#8594; &#x2192; &nope; &#0; &#xd800;', '& <b> → → &nope; \ufffd \ufffd¶'],
    ['\\*a\\* \\q', '*a* \\q¶'],
    ['<b>**c**</b>', '<b><strong>c</strong></b>¶'],
    ['<div>\n**c**\n</div>', '<div>\n**c**\n</div>'],
    ['<!-- a\nb -->', '<!-- a\nb -->'],
    ['$x_1$ and $$a_b$$ 2*3*4', '$x_1$ and $$a_b$$ 2<em>3</em>4¶'],
    ['[a] [b][c] [^1]', '[a] [b][c] [^1]¶'],
    ['[a]: https://example.com', '[a]: <a>https://example.com</a>¶'],
    ['`` a`b `` ` `', '<code>a`b</code> <code> </code>¶'],
    ['![a]', '![a]¶'],
    ['a\u202eb\u0007\u2066c\r\nd\u200d', 'a\ufffdb\ufffd\ufffdc\nd\u200d¶']
  ])('%j', (text, expected) => {
    expect(outline(shown(text))).toBe(expected);
  });

  test('has headings in the outline of the page, below those of the page', () => {
    const headings = [...shown('# A\n\n## B `c`\n\nC\n===\n\n###### D').querySelectorAll('[role=heading]')];
    expect(headings.map(one => [one.textContent, one.getAttribute('aria-level')])).toEqual([
      ['A', '3'],
      ['B c', '4'],
      ['C', '3'],
      ['D', '6']
    ]);
  });

  test('has tasks that say what they are', () => {
    const boxes = [...shown('- [x] a\n- [ ] b').querySelectorAll('input')];
    expect(boxes.map(box => [box.disabled, box.checked, box.getAttribute('aria-label')])).toEqual([
      [true, true, 'Done'],
      [true, false, 'To do']
    ]);
  });

  test('tells loose lists from tight ones', () => {
    const loose = (text: string): string | undefined => shown(text).querySelector<HTMLElement>('ul')?.dataset.loose;
    expect(loose('- a\n- b\n\nc')).toBe('false');
    expect(loose('- a\n\n- b')).toBe('true');
    expect(loose('- a\n\n  b')).toBe('true');
    expect(loose('- a\n  ```\n  x\n\n  y\n  ```\n- b')).toBe('false');
    expect(loose('> - a\n>\n> - b')).toBe('true');
  });

  test('has tables with their columns in place', () => {
    const table = shown('| a | b | c |\n|:--|:-:|--:|\n| | `x\\|y` | 3 | 4 |\n| *1* |\n').querySelector('table');
    const rows = [...(table?.rows ?? [])].map(row => [...row.cells].map(cell => cell.textContent));
    expect(rows).toEqual([
      ['a', 'b', 'c'],
      ['', 'x|y', '3'],
      ['1', '', '']
    ]);
    expect([...(table?.rows[1]?.cells ?? [])].map(cell => cell.dataset.align)).toEqual(['left', 'center', 'right']);
  });

  test('has code with its language and a button that copies it', () => {
    const node = shown('1. a\n   ```py title=x\n   def f():\n       pass\n\n   ```\n');
    expect(node.querySelector('.jp-agent-Markdown-language')?.textContent).toBe('Python');
    expect(node.querySelector('pre')?.textContent).toBe('def f():\n    pass\n');
    expect(node.querySelector('.jp-agent-Code-keyword')?.textContent).toBe('def');
    expect(node.querySelector('button')?.textContent).toBe('Copy');
    expect(shown('```evil"language\nx\n```').querySelector('.jp-agent-Markdown-language')?.textContent).toBe('');
    expect(shown('  ```\n  a\n    b\n  ```').querySelector('pre')?.textContent).toBe('a\n  b');
  });

  test('goes only so deep', () => {
    for (const text of [
      '> '.repeat(5_000) + 'end',
      '- '.repeat(5_000) + 'end',
      '*a **b '.repeat(300) + 'b** a*'.repeat(300)
    ]) {
      const node = shown(text);
      let deepest = 0;
      node.querySelectorAll('*').forEach(one => {
        let depth = 0;
        for (let up: Element | null = one; up && up !== node; up = up.parentElement) {
          depth += 1;
        }
        deepest = Math.max(deepest, depth);
      });
      expect(deepest).toBeLessThan(60);
      expect(node.textContent).toMatch(/end|b\*\* a\*/);
    }
  });

  test('of a paragraph without end keeps every word', () => {
    const text = Array.from({ length: 5_000 }, (_, index) => `word${index}`).join(' ');
    expect(shown(text).textContent).toBe(text);
    expect(shown('😀'.repeat(10_000)).textContent).toBe('😀'.repeat(10_000));
  });
});

describe('what is half written looks calm', () => {
  test.each([
    ['a **bo', 'a <strong>bo</strong>¶'],
    ['a **bold*', 'a <strong>bold</strong>¶'],
    ['a **', 'a¶'],
    ['a *b **c', 'a <em>b <strong>c</strong></em>¶'],
    ['a `co', 'a <code>co</code>¶'],
    ['a `', 'a¶'],
    ['a ~~b', 'a <del>b</del>¶'],
    ['a [label](https://exam', 'a label¶'],
    ['a ![alt](https://exam', 'a alt¶'],
    ['a * b 2*3 snake_case', 'a * b 2*3 snake_case¶'],
    ['text\n-', 'text¶'],
    ['text\n--', 'text¶'],
    ['text\n==', 'text¶'],
    ['text\n\n#', 'text¶'],
    ['text\n\n1. ', 'text¶'],
    ['text\n``', 'text¶'],
    ['text\n```py', 'text¶'],
    ['- a\n- **b', '<ul><li>a¶</li><li><strong>b</strong>¶</li></ul>'],
    ['| a | **b', '<table><thead><tr><th>a</th><th><strong>b</strong></th></tr></thead><tbody></tbody></table>'],
    ['| a | b |\n|--', '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody></tbody></table>'],
    ['done **bo\n\n', 'done **bo¶'],
    ['line\r', 'line¶'],
    ['\ud83d', '']
  ])('%j', (text, expected) => {
    expect(outline(shown(text, true))).toBe(expected);
  });

  test('and is what it is when it is whole', () => {
    expect(outline(shown('a **bo'))).toBe('a **bo¶');
    expect(outline(shown('| a | b'))).toBe('| a | b¶');
    expect(outline(shown('text\n-'))).toBe('<div>text</div>');
  });
});

describe('a text that grows', () => {
  /** Counts the elements that come onto the page while a text streams in by steps. */
  function made(text: string, step: number): { most: number; changed: number } {
    const block = new MarkdownBlock(words);
    const from = text.length - 30 * step;
    block.update(text.slice(0, from), true);
    const watch = new MutationObserver(() => undefined);
    watch.observe(block.node, { childList: true, subtree: true });
    let most = 0;
    let changed = 0;
    for (let at = from; at <= text.length; at += step) {
      block.update(text.slice(0, at), true);
      const added = watch.takeRecords().flatMap(({ addedNodes }) => [...addedNodes]);
      const count = added.reduce(
        (sum, node) => sum + 1 + (node instanceof Element ? node.querySelectorAll('*').length : 0),
        0
      );
      most = Math.max(most, count);
      changed += added.length;
    }
    watch.disconnect();
    return { most, changed };
  }

  test.each([
    ['paragraphs', 'Some **bold** words and `code`.\n\n'.repeat(400), 30],
    ['one paragraph', 'Some **bold** words and `code`. '.repeat(400), 900],
    ['a list', '- item\n'.repeat(1_000), 20],
    ['a loose list', '- item\n\n'.repeat(800), 20],
    ['a table', `| a | b |\n|---|---|\n${'| 1 | 2 |\n'.repeat(600)}`, 30],
    ['headings', '## Head\n\n'.repeat(800), 30],
    ['code', `\`\`\`python\n${'x = f(1, "a")  # note\n'.repeat(1_000)}`, 700],
    ['a quote', '> words\n>\n'.repeat(600), 20]
  ])('makes only its end anew: %s', (_, text, most) => {
    const { most: worst, changed } = made(text, 40);
    expect(worst).toBeLessThanOrEqual(most);
    expect(changed).toBeGreaterThan(0);
  });

  test('keeps the nodes of what is finished', () => {
    const block = new MarkdownBlock(words);
    block.update('# A\n\n- one\n- two\n\n```python\nx = 1\n```\n\nsome', true);
    const before = [...block.node.querySelectorAll('div, li, pre, p')].slice(1, -1);
    block.update('# A\n\n- one\n- two\n\n```python\nx = 1\n```\n\nsome **more**\n\nand', true);
    block.update('# A\n\n- one\n- two\n\n```python\nx = 1\n```\n\nsome **more**\n\nand more', false);
    expect(before.length).toBeGreaterThan(5);
    expect(before.every(node => block.node.contains(node))).toBe(true);
  });

  test('keeps the item and the code block that grow', () => {
    const block = new MarkdownBlock(words);
    block.update('- one\n- tw', true);
    const [list, first] = [block.node.querySelector('ul'), block.node.querySelector('li')];
    block.update('- one\n- two\n- three\n\n- four', true);
    expect(block.node.querySelector('ul')).toBe(list);
    expect(block.node.querySelector('li')).toBe(first);
    block.update('```python\nx = 1\ny', true);
    const pre = block.node.querySelector('pre');
    block.update('```python\nx = 1\ny = 2\n```', false);
    expect(block.node.querySelector('pre')).toBe(pre);
    expect(pre?.textContent).toBe('x = 1\ny = 2');
  });
});

describe('a very long text', () => {
  const lines = Array.from({ length: 6_000 }, (_, index) => `line ${index}.\n\n`);
  const text = lines.join('');

  test('is shown in its beginning and its end, and as a whole when it is asked for', () => {
    const node = shown(text);
    expect(node.textContent).toContain('line 0.');
    expect(node.textContent).toContain('line 5999.');
    expect(node.textContent).not.toContain('line 3000.');
    const button = node.querySelector<HTMLButtonElement>('.jp-agent-Markdown-gap button');
    expect(button?.textContent).toBe(`Show all ${text.length.toLocaleString()} characters`);
    button?.click();
    expect(node.querySelectorAll('p')).toHaveLength(6_000);
    expect(node.querySelector('.jp-agent-Markdown-gap')).toBeNull();
  });

  test('says truly how much is missing', () => {
    const node = shown(text);
    const said = Number(
      /[\d,]+/.exec(node.querySelector('.jp-agent-Markdown-gap')?.textContent ?? '')?.[0].replace(/,/g, '')
    );
    const there = [...node.querySelectorAll('p')].reduce((sum, one) => sum + (one.textContent ?? '').length + 2, 0);
    expect(Math.abs(text.length - there - said)).toBeLessThan(5);
  });

  test('shows its end while it grows, and costs no more for its length', () => {
    const block = new MarkdownBlock(words);
    for (let at = 50_000; at < text.length; at += 4_321) {
      const part = text.slice(0, at);
      block.update(part, true);
      expect(block.node.textContent).toContain(/line (\d+)\.\n\n[^]{0,11}$/.exec(part)?.[0].slice(0, 8) ?? '-');
      expect(block.node.textContent?.length ?? 0).toBeLessThan(65_000);
    }
    block.update(text, false);
    expect(block.node.innerHTML).toBe(shown(text).innerHTML);
  });

  test('in a fence is code at its end too', () => {
    const node = shown(`Before\n\n\`\`\`python\n${'x = 1\n'.repeat(15_000)}\`\`\`\n\nAfter **it**`);
    const blocks = [...node.querySelectorAll('.jp-agent-Markdown-codeBlock')];
    expect(blocks.map(block => block.querySelector('.jp-agent-Markdown-language')?.textContent)).toEqual([
      'Python',
      'Python'
    ]);
    expect(blocks[1]?.querySelector('pre')?.textContent).toMatch(/^(x = 1\n?)+$/);
    expect(node.querySelector('strong')?.textContent).toBe('it');
  });

  test('lets go of everything', () => {
    const block = new MarkdownBlock(words);
    block.update(text, false);
    block.dispose();
    expect(block.node.querySelectorAll('p')).toHaveLength(0);
  });
});
