/** How figures are judged: by a colour, and by a word and a mark, since not everybody sees the colour. */

import { element, visible } from '../content/element';
import type { IWords } from '../tokens';
import { duration } from '../view/figures';

export type Level = 'good' | 'fair' | 'poor';

/** Less than one second is good, less than five are fair. */
export function latencyLevel(ms: number): Level {
  return ms < 1_000 ? 'good' : ms < 5_000 ? 'fair' : 'poor';
}

/** From 60 % on the cache did well, from 30 % on fairly. */
export function hitLevel(rate: number): Level {
  return rate >= 0.6 ? 'good' : rate >= 0.3 ? 'fair' : 'poor';
}

/** A mark of each level, of a shape of its own. */
export const MARKS: Readonly<Record<Level, string>> = { good: '●', fair: '◆', poor: '▲' };

export function latencyWord(level: Level, words: IWords): string {
  return { good: words.__('quick'), fair: words.__('slow'), poor: words.__('very slow') }[level];
}

export function hitWord(level: Level, words: IWords): string {
  return { good: words.__('good'), fair: words.__('fair'), poor: words.__('poor') }[level];
}

/** Returns a mark of this level, with the word for it. */
export function mark(level: Level, word: string): HTMLElement {
  const node = element('span', 'jp-agent-Level-mark', '', { title: word });
  node.dataset.level = level;
  node.append(
    element('span', '', MARKS[level], { 'aria-hidden': 'true' }),
    element('span', 'jp-agent-View-unseen', word)
  );
  return node;
}

/**
 * Returns a bar for how long a call took, and the time itself.
 *
 * The longest fills the bar. Bars are in proportion to the logarithm, so that one very long call does not hide the others.
 */
export function latencyBar(ms: number | null, longestMs: number, words: IWords): HTMLElement {
  const part = Math.log1p(Math.max(0, ms ?? 0)) / Math.log1p(Math.max(ms ?? 0, longestMs, 1));
  const node = bar(ms, part);
  if (ms !== null) {
    const level = latencyLevel(ms);
    node.querySelector<HTMLElement>('.jp-agent-Bar-fill')!.dataset.level = level;
    node.append(mark(level, latencyWord(level, words)));
  }
  return node;
}

/** Returns a bar for how long a run took, in proportion, and the time itself: what a run may take nobody can say. */
export function durationBar(ms: number | null, longestMs: number): HTMLElement {
  return bar(ms, Math.max(0, ms ?? 0) / Math.max(ms ?? 0, longestMs, 1));
}

function bar(ms: number | null, part: number): HTMLElement {
  const node = element('div', 'jp-agent-Bar');
  if (ms !== null) {
    const fill = element('span', 'jp-agent-Bar-fill', '', { 'aria-hidden': 'true' });
    fill.style.width = `${Math.max(2, Math.round(100 * part))}%`;
    const track = element('span', 'jp-agent-Bar-track');
    track.append(fill);
    node.append(track, element('span', 'jp-agent-Bar-text', visible(duration(ms))));
  }
  return node;
}
