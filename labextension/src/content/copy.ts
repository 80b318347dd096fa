/** A button that copies a text, and says that it did to eyes and ears. */

import type { IWords } from '../tokens';
import { element } from './element';

/** How long the button says what it did, in milliseconds. */
const ECHO = 2_000;

/** A button that copies what `text` returns when it is pressed. */
export class CopyButton {
  constructor(words: IWords, text: () => string) {
    this._words = words;
    this._text = text;
    this.node = element('span', 'jp-agent-Copy');
    this._button = element('button', 'jp-agent-Copy-button', words.__('Copy'), { type: 'button' });
    this._status = element('span', 'jp-agent-Copy-status', '', { role: 'status' });
    this._button.addEventListener('click', () => void this.copy());
    this.node.append(this._button, this._status);
  }

  readonly node: HTMLElement;

  /** Copies the text. Says so, or that it did not work. */
  async copy(): Promise<void> {
    const done = await write(this._text());
    const said = done ? this._words.__('Copied') : this._words.__('Not copied: the browser refused it');
    this._button.textContent = said;
    this._button.dataset.done = String(done);
    this._status.textContent = said;
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._rest(), ECHO);
  }

  private _rest(): void {
    this._button.textContent = this._words.__('Copy');
    delete this._button.dataset.done;
    this._status.textContent = '';
  }

  private readonly _words: IWords;
  private readonly _text: () => string;
  private readonly _button: HTMLButtonElement;
  private readonly _status: HTMLElement;
  private _timer: ReturnType<typeof setTimeout> | undefined;
}

/** Puts text on the clipboard; returns whether it is there. */
async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard without https, and none in a frame that may not use it.
    return writeBySelection(text);
  }
}

function writeBySelection(text: string): boolean {
  const before = document.activeElement;
  const field = element('textarea', 'jp-agent-Copy-field', '', { 'aria-hidden': 'true', tabindex: '-1' });
  field.value = text;
  document.body.append(field);
  field.focus({ preventScroll: true });
  field.select();
  try {
    return document.execCommand('copy');
  } catch {
    return false;
  } finally {
    field.remove();
    if (before instanceof HTMLElement) {
      before.focus({ preventScroll: true });
    }
  }
}
