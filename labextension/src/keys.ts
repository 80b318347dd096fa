/**
 * Keeps the keys that are pressed in our views away from the notebook around them.
 *
 * JupyterLab hears a key before the page does, and the shortcuts of its command mode fit whatever has the focus in a
 * notebook: two d on a button would delete the cell. The mark by which it can be told counts only on the very element that
 * has the focus; further out it comes too late, since the shortcut has fitted already. What works everywhere in JupyterLab
 * (save, the palette …) works here too.
 */

/** What our views are made of, the outermost of each: whatever can have the focus is in one of these. */
const VIEWS = '.jp-agent-Run, .jp-agent-Waiting, .jp-agent-Dock, .jp-agent-View, .jp-agent-Widget';
const MARK = 'data-lm-suppress-shortcuts';

/** Under this name a page knows that its keys are kept: every widget comes with a module of its own. */
const KEPT = Symbol.for('jupyter_agent.keys');

/** Keys that mean something for cells with Ctrl or Cmd, too. */
const OF_CELLS = /^(?:Enter|Backspace|Arrow.*|[am-])$/i;

/** Keeps the keys of every view in this page, from now on. A page is listened to once, whoever asks. */
export function keepKeys(page: Window & { [KEPT]?: boolean }): void {
  if (!page[KEPT]) {
    page[KEPT] = true;
    page.addEventListener('keydown', onKey, true);
  }
}

function onKey(event: KeyboardEvent): void {
  const { target, key, ctrlKey, metaKey, altKey } = event;
  if (!(target instanceof Element) || !target.closest(VIEWS)) {
    return;
  }
  const isForAll = (ctrlKey || metaKey) && !altKey && !OF_CELLS.test(key);
  if (isForAll) {
    target.removeAttribute(MARK);
  } else {
    target.setAttribute(MARK, 'true');
  }
}
