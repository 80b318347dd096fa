/**
 * A text that streams in: at every moment it looks as if it had been there at once, and what is finished stays.
 *
 * @jest-environment jsdom
 */

import { MarkdownBlock } from '../../content/markdown';
import { ATTACKS, EVERYDAY } from './corpus';
import { random, words } from './words';

function fresh(text: string, isStreaming: boolean): string {
  const block = new MarkdownBlock(words);
  block.update(text, isStreaming);
  return block.node.innerHTML;
}

/** Streams the text in these steps; at each of them it must look like a fresh one. */
function stream(text: string, cuts: Iterable<number>): void {
  const block = new MarkdownBlock(words);
  for (const cut of cuts) {
    const part = text.slice(0, cut);
    block.update(part, true);
    if (block.node.innerHTML !== fresh(part, true)) {
      expect({ part, shown: block.node.innerHTML }).toEqual({ part, shown: fresh(part, true) });
    }
  }
  block.update(text, false);
  expect(block.node.innerHTML).toBe(fresh(text, false));
}

describe('a text that grows', () => {
  test.each([...EVERYDAY, ...ATTACKS])('looks at every cut like one that was there at once: %j', text => {
    stream(
      text,
      Array.from({ length: text.length }, (_, index) => index + 1)
    );
  });

  const before = `${'Some words. '.repeat(30)}\n\n`;

  test.each([
    ['a table that is none after all', 'text\na|b\n-|-1. no\nmore\n'],
    ['an item that begins with nothing', '- * \n    words\n\n    more words\n\nand more of them\n\n'],
    ['a list that goes on after its blank lines', '- a\n\n\n\n  b\n\n\n- c\n\n\nd\n'],
    ['code that goes on after its blank lines', '    a\n\n\n\n    b\n\nc\n'],
    ['markup without an end', '<!-- a\n\nb\n\nc -->\n\nd\n']
  ])('does so after a text of some length: %s', (_, text) => {
    const whole = before + text + text;
    stream(
      whole,
      Array.from({ length: 2 * text.length }, (_, index) => before.length + index)
    );
  });

  test.each(Array.from({ length: 60 }, (_, seed) => seed))(
    'does so for splices of many, by steps of any size (%i)',
    seed => {
      const next = random(seed);
      const pick = (): string => {
        const all = next() < 0.7 ? EVERYDAY : ATTACKS;
        const one = all[Math.floor(next() * all.length)] ?? '';
        return next() < 0.5 ? one : one.slice(Math.floor(next() * one.length * 0.3), Math.ceil(next() * one.length));
      };
      const text = Array.from(
        { length: 4 + Math.floor(next() * 12) },
        () => pick() + ['', '\n', '\n\n', ' '][Math.floor(next() * 4)]
      ).join('');
      const cuts: number[] = [];
      for (let at = 0; at < text.length; at += 1 + Math.floor(next() * 25)) {
        cuts.push(at);
      }
      stream(text, cuts);
    }
  );

  test.each(Array.from({ length: 20 }, (_, seed) => seed))(
    'that is another one in the middle is that one (%i)',
    seed => {
      const next = random(1_000 + seed);
      const pick = (): string => EVERYDAY[Math.floor(next() * EVERYDAY.length)] ?? '';
      const block = new MarkdownBlock(words);
      let text = Array.from({ length: 8 }, pick).join('\n');
      for (let round = 0; round < 12; round += 1) {
        const at = Math.floor(next() * text.length);
        text = text.slice(0, at) + (next() < 0.5 ? pick() : '') + text.slice(at + Math.floor(next() * 20));
        block.update(text, round % 2 === 0);
        expect(block.node.innerHTML).toBe(fresh(text, round % 2 === 0));
      }
    }
  );
});
