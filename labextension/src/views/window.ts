/** Which of very many rows of one height are on the screen: arithmetic only, so a million cost no more than ten. */

/** Browsers draw nothing that is much further down; longer lists are scrolled in larger steps. */
const MOST_PX = 8_000_000;

export interface IWindow {
  /** The first row to be drawn, and the one after the last. */
  readonly from: number;
  readonly to: number;
  /** Where the first one is drawn, in pixels from the top of the list. */
  readonly top: number;
}

/** How high the whole list is, in pixels. */
export function listHeight(count: number, row: number): number {
  return Math.min(count * row, MOST_PX);
}

/** Returns the rows around what is seen of the list at this place; `over` rows more above and below. */
export function windowAt(scrolled: number, seen: number, count: number, row: number, over: number): IWindow {
  const height = listHeight(count, row);
  const top = Math.max(0, Math.min(scrolled, height - seen));
  const exact = height < count * row ? (top / (height - seen)) * (count - seen / row) : top / row;
  const first = Math.floor(exact);
  const from = Math.max(0, first - over);
  const to = Math.min(count, Math.ceil(exact + seen / row) + over);
  return { from, to, top: top - (exact - from) * row };
}

/** Returns where to scroll to, so that a row is seen wholly; the same place where it is. */
export function scrollTo(at: number, scrolled: number, seen: number, count: number, row: number): number {
  const height = listHeight(count, row);
  if (height < count * row) {
    const exact = (scrolled / (height - seen)) * (count - seen / row);
    const wanted = Math.min(Math.max(exact, at + 1 - seen / row), at);
    return (wanted / (count - seen / row)) * (height - seen);
  }
  return Math.min(Math.max(scrolled, (at + 1) * row - seen), at * row);
}
