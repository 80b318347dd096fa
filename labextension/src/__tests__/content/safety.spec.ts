/**
 * Whatever a model or a tool writes, the page gets elements from a fixed list, with attributes from a fixed list, and loads
 * nothing.
 *
 * @jest-environment jsdom
 */

import { argumentsTable } from '../../content/args';
import { code } from '../../content/code';
import { diff } from '../../content/diff';
import { address, bareAddress } from '../../content/links';
import { MarkdownBlock } from '../../content/markdown';
import { output } from '../../content/output';
import { ATTACKS, EVERYDAY } from './corpus';
import { random, words } from './words';

const ELEMENTS = new Set(
  (
    'DIV P SPAN EM STRONG DEL CODE PRE UL OL LI BLOCKQUOTE HR TABLE THEAD TBODY TR TH TD BR A BUTTON INPUT ' +
    'DL DT DD'
  ).split(' ')
);

/** What each attribute may say. */
const ATTRIBUTES: Readonly<Record<string, RegExp>> = {
  class: /^jp-agent-[A-Z][A-Za-z]*(-[A-Za-z]+)?$/,
  href: /^(https?:\/\/[^/]|mailto:)[^\s<>"]*$/,
  target: /^_blank$/,
  rel: /^noopener noreferrer nofollow$/,
  title: /^[^\p{Cc}\u202a-\u202e\u2066-\u2069]*$/u,
  type: /^(button|checkbox)$/,
  role: /^(heading|status|group)$/,
  'aria-level': /^[1-6]$/,
  'aria-label': /^(Done|To do|\d+ lines? added, \d+ lines? removed)$/,
  'aria-hidden': /^true$/,
  'aria-pressed': /^false$/,
  'data-level': /^[1-6]$/,
  'data-loose': /^(true|false)$/,
  'data-align': /^(left|center|right)$/,
  'data-change': /^(added|removed|place|file|none)$/,
  start: /^\d{1,9}$/,
  scope: /^col$/,
  tabindex: /^0$/,
  disabled: /^$/,
  checked: /^$/,
  hidden: /^$/
};

function faults(root: HTMLElement): string[] {
  const found: string[] = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL);
  for (let node: Node | null = root; node; node = walker.nextNode()) {
    if (node instanceof Text) {
      continue;
    }
    if (!(node instanceof HTMLElement) || !ELEMENTS.has(node.tagName)) {
      found.push(`element ${node.nodeName}`);
      continue;
    }
    for (const { name, value } of [...node.attributes]) {
      if (!Object.hasOwn(ATTRIBUTES, name) || !ATTRIBUTES[name]?.test(value)) {
        found.push(`${node.tagName} ${name}=${value}`);
      }
    }
  }
  root
    .querySelectorAll('a a, a button, a input, button *')
    .forEach(({ tagName }) => found.push(`${tagName} in another`));
  const text = root.textContent ?? '';
  if (/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/.test(text)) {
    found.push('a character that moves or controls');
  }
  return found;
}

const line = (text: string): string => text.replace(/\s*\n\s*/g, ' ');

/** Where in a text something may stand. */
const PLACES: Readonly<Record<string, (attack: string) => string>> = {
  'by itself': attack => attack,
  'in a paragraph': attack => `before ${line(attack)} after`,
  'in a heading': attack => `## ${line(attack)}`,
  'in an underlined heading': attack => `${line(attack)}\n===`,
  'in an item': attack => `- ${attack.replace(/\n/g, '\n  ')}\n- next`,
  'in a task': attack => `- [x] ${line(attack)}`,
  'in a numbered item': attack => `3. ${attack.replace(/\n/g, '\n   ')}`,
  'in a quote': attack => `> ${attack.replace(/\n/g, '\n> ')}`,
  'in the head of a table': attack => `| ${line(attack)} | b |\n|---|---|\n| 1 | 2 |`,
  'in a cell': attack => `| a | b |\n|---|---|\n| ${line(attack)} | 2 |`,
  'in a head that is not done': attack => `| ${line(attack)} | b |\n|--`,
  'in strong emphasis': attack => `**${attack}** *${attack}* ~~${attack}~~`,
  'in emphasis that is open': attack => `**${attack}`,
  'as a label': attack => `[${attack}](https://example.com)`,
  'as an address': attack => `[label](${attack})`,
  'as an address in brackets': attack => `[label](<${attack}>)`,
  'as a title': attack => `[label](https://example.com "${attack}")`,
  'as half an address': attack => `[label](${attack}`,
  'as a description': attack => `![${attack}](https://example.com/p.png)`,
  "as a picture's address": attack => `![alt](${attack})`,
  'as an autolink': attack => `<${attack}>`,
  'after an address': attack => `https://example.com/${attack}`,
  'as a reference': attack => `[a]\n\n[a]: ${attack}`,
  'as an info string': attack => `\`\`\`${line(attack)}\ncode\n\`\`\``,
  'in a fence': attack => `~~~~~python\n${attack}\n~~~~~`,
  'in an open fence': attack => `~~~~~js\n${attack}`,
  'in indented code': attack => `    ${attack.replace(/\n/g, '\n    ')}`,
  'in inline code': attack => `\`\`\`\`${attack}\`\`\`\``,
  'in markup': attack => `<div>\n${attack}\n</div>\n\n${attack}`,
  'after markup that is open': attack => `<style>\n<!-- ${attack}`,
  'behind escapes': attack => attack.replace(/[[\]()<>!]/g, '\\$&'),
  'as entities': attack => attack.replace(/[[\]()<>!:]/g, sign => `&#${sign.charCodeAt(0)};`)
};

function faultsOf(text: string): string[] {
  return [false, true].flatMap(isStreaming => {
    const block = new MarkdownBlock(words);
    block.update(text, isStreaming);
    return faults(block.node).map(fault => `${fault} of ${JSON.stringify(text)}`);
  });
}

test.each(Object.entries(PLACES))('Markdown with anything %s', (_, place) => {
  expect([...ATTACKS, ...EVERYDAY].flatMap(attack => faultsOf(place(attack)))).toEqual([]);
});

test('Markdown of anything after anything', () => {
  const next = random(7);
  const all = [...ATTACKS, ...EVERYDAY];
  const pick = <T>(of: ReadonlyArray<T>): T => of[Math.floor(next() * of.length)] as T;
  for (let round = 0; round < 400; round += 1) {
    const parts = Array.from({ length: 6 }, () => {
      const one = pick(Object.values(PLACES))(pick(all));
      return next() < 0.5 ? one : one.slice(Math.floor(next() * one.length));
    });
    const block = new MarkdownBlock(words);
    block.update(parts.join(pick(['\n\n', '\n', ' ', ''])), round % 2 === 0);
    expect(faults(block.node)).toEqual([]);
  }
});

test.each([...ATTACKS, ...EVERYDAY])('code, output, changes and arguments of %j', attack => {
  const hunk = `--- ${line(attack)}\n+++ ${line(attack)}\n@@ -1 +1 @@\n-${line(attack)}\n+${line(attack)}`;
  for (const node of [
    ...['python', 'js', 'json', 'html', attack].map(language => code(attack, language)),
    output(attack, words),
    output(JSON.stringify({ [attack]: attack }), words),
    output(`Traceback (most recent call last):\n  x\n${attack}`, words),
    diff(hunk, words, { lines: 100 }),
    diff(attack, words),
    argumentsTable(JSON.stringify({ [attack]: attack, code: attack, list: [attack] }), words),
    argumentsTable(attack, words),
    argumentsTable(`{"code": "${attack}`, words)
  ]) {
    expect(faults(node)).toEqual([]);
  }
});

describe('a picture', () => {
  const shown = (text: string): HTMLElement => {
    const block = new MarkdownBlock(words);
    block.update(text, false);
    return block.node;
  };

  test('is loaded only when it is asked for, and tells nobody where from', () => {
    const node = shown('![a plot](https://example.com/p.png?x=1 "title")');
    const chip = node.querySelector('button');
    expect(chip?.textContent).toBe('🖼 a plot — load from example.com');
    expect(node.querySelector('img')).toBeNull();
    chip?.click();
    const image = node.querySelector('img');
    expect(image?.getAttributeNames().sort()).toEqual(['alt', 'class', 'referrerpolicy', 'src']);
    expect(image?.src).toBe('https://example.com/p.png?x=1');
    expect(image?.getAttribute('referrerpolicy')).toBe('no-referrer');
    expect(image?.alt).toBe('a plot');
    image?.dispatchEvent(new Event('error'));
    expect(node.textContent).toBe('🖼 a plot (it could not be loaded)');
  });

  test('may stand in the text itself', () => {
    const node = shown('![dot](data:image/png;base64,iVBORw0KGgo=)');
    node.querySelector('button')?.click();
    expect(node.querySelector('img')?.src).toBe('data:image/png;base64,iVBORw0KGgo=');
  });

  test.each([
    'javascript:alert(1)',
    'data:image/svg+xml;base64,PHN2Zz4=',
    'data:image/svg+xml,<svg>',
    'data:text/html;base64,PGI+',
    'data:image/png,x',
    '//example.com/p.png',
    '/local.png',
    'files/p.png',
    'mailto:a@b.test'
  ])('is not loaded from %s', source => {
    expect(shown(`![alt](${source})`).querySelector('button, img')).toBeNull();
  });

  test('in a link stands beside it', () => {
    const node = shown('[![alt](https://one.test/p.png)](https://two.test)');
    expect(node.querySelector('a button')).toBeNull();
    expect(node.querySelector('a')?.textContent).toBe('two.test');
    expect(node.querySelector('button')?.textContent).toContain('one.test');
  });
});

describe('an address', () => {
  test.each(['https://example.com', 'HTTP://Example.com/a?b#c', 'mailto:a@b.test', 'https://example.com/a&amp;b'])(
    'leads somewhere: %s',
    text => {
      expect(address(text)?.href).toMatch(/^(https?:\/\/example\.com\/|mailto:a@b\.test)/);
    }
  );

  test.each([
    'javascript:alert(1)',
    'java\nscript:alert(1)',
    'https:example.com',
    'https:///example.com',
    'https:\\\\example.com',
    'http://',
    'http://exa"mple',
    'https://exa%00mple.com',
    'https://.',
    'https://exa mple.com',
    'https://example.com/\u200b',
    'https://example.com/\u202e',
    'ftp://example.com',
    'mailto://x',
    '',
    `https://example.com/${'a'.repeat(3_000)}`
  ])('leads nowhere: %j', text => {
    expect(address(text)).toBeNull();
  });

  test('has the page look up no names', () => {
    document.head.replaceChildren();
    for (const text of ['[one](https://one.example)', 'https://two.example']) {
      new MarkdownBlock(words).update(text, false);
    }
    const told = [...document.head.querySelectorAll('meta')].map(meta => [meta.httpEquiv, meta.content]);
    expect(told).toEqual([['x-dns-prefetch-control', 'off']]);
  });

  test('by itself is read as people write it', () => {
    expect(bareAddress('www.example.com')?.href).toBe('https://www.example.com/');
    expect(bareAddress('a.b@example.com')?.href).toBe('mailto:a.b@example.com');
    expect(bareAddress('xmpp:a@example.com')).toBeNull();
  });
});

describe('a link says where it really leads', () => {
  const host = (text: string): string | undefined => {
    const block = new MarkdownBlock(words);
    block.update(text, false);
    return block.node.querySelector('.jp-agent-Markdown-host')?.textContent?.trim();
  };

  test.each([
    ['[https://good.test](https://evil.test)', '(evil.test)'],
    ['[good.test](https://evil.test)', '(evil.test)'],
    ['[good.test](https://good.test.evil.test)', '(good.test.evil.test)'],
    ['[**good**.test](https://evil.test)', '(evil.test)'],
    ['[go\u200bod.test](https://evil.test)', '(evil.test)'],
    ['[good。test](https://evil.test)', '(evil.test)'],
    ['[good．test](https://evil.test)', '(evil.test)'],
    ['[`good.test`](https://evil.test)', '(evil.test)'],
    ['[good.test:8080](https://good.test)', '(good.test)'],
    ['[Log in at https://good.test/now](https://evil.test/now)', '(evil.test)'],
    ['[https://localhost](https://evil.test)', '(evil.test)'],
    ['<https://good.test@evil.test/>', '(evil.test)'],
    ['[https://good.test/a](https://good.test/b)', '(https://good.test/b)'],
    ['[аpple.com](https://аpple.com)', '(xn--pple-43d.com)'],
    ['[a@good.test](mailto:a@evil.test)', '(a@evil.test)'],
    ['[a@good.test](https://evil.test)', '(evil.test)']
  ])('where its label does not: %s', (text, said) => {
    expect(host(text)).toBe(said);
  });

  test.each([
    '[the report](https://example.com/r)',
    '[example.com](https://www.example.com/r)',
    '[www.example.com](https://example.com)',
    '[https://example.com/](https://example.com)',
    '[https://example.com/lo…](https://example.com/long)',
    '[Version 2](https://example.com)',
    'https://example.com/a?b=c.',
    'me@example.com',
    '<https://example.com>'
  ])('only where it must: %s', text => {
    expect(host(text)).toBeUndefined();
  });
});
