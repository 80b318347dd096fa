/** A bar of several parts beside each other. What they are is said in text next to it. */

import { element } from '../content/element';

export interface IPart {
  readonly kind: string;
  readonly count: number;
}

/** Returns a bar whose whole width stands for `most`; parts have a pattern or a shade of their own as well as a colour. */
export function stack(parts: ReadonlyArray<IPart>, most: number): HTMLElement {
  const node = element('span', 'jp-agent-Stack', '', { 'aria-hidden': 'true' });
  for (const { kind, count } of parts) {
    if (count > 0) {
      const part = element('span', 'jp-agent-Stack-part');
      part.dataset.kind = kind;
      part.style.width = `${((100 * count) / Math.max(most, 1)).toFixed(2)}%`;
      node.append(part);
    }
  }
  return node;
}
