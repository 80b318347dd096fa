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
 * Returns a bar for how long something took, and the time itself.
 *
 * The longest fills the bar. Bars are in proportion to the logarithm, so that one very long call does not hide the others.
 */
export function latencyBar(ms: number | null, longestMs: number, words: IWords): HTMLElement {
  const node = element('div', 'jp-agent-Bar');
  if (ms === null) {
    return node;
  }
  const level = latencyLevel(ms);
  const fill = element('span', 'jp-agent-Bar-fill', '', { 'aria-hidden': 'true' });
  fill.dataset.level = level;
  fill.style.width = `${Math.round(100 * share(ms, longestMs))}%`;
  const track = element('span', 'jp-agent-Bar-track');
  track.append(fill);
  const text = element('span', 'jp-agent-Bar-text', visible(duration(ms)));
  node.append(track, text, mark(level, latencyWord(level, words)));
  return node;
}

function share(ms: number, longestMs: number): number {
  const most = Math.max(ms, longestMs, 1);
  return Math.max(0.02, Math.log1p(Math.max(0, ms)) / Math.log1p(most));
}
