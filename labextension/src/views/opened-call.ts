/**
 * The place below the list where one call is open: why it ran or did not, with both values, its prompt, its answer, and its
 * run where the page can show that. A button or Escape closes it, and the list has the focus again.
 */

import type { IDisposable } from '@lumino/disposable';

import { element, visible } from '../content/element';
import { laidOut } from '../content/json';
import { MarkdownBlock } from '../content/markdown';
import { output } from '../content/output';
import type { IWords } from '../tokens';
import type { ShowRun } from './view';
import type { ICall, IWholeCall } from './workflow-data';

export interface IOpenedCallOptions {
  readonly words: IWords;
  readonly showRun: ShowRun | null;
  /** It was closed. */
  readonly closed: () => void;
}

export class OpenedCall implements IDisposable {
  constructor(private readonly _options: IOpenedCallOptions) {
    const { words } = _options;
    this.node.hidden = true;
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        this.close();
      }
    });
    const close = element('button', 'jp-agent-Opened-close', words.__('Close'), { type: 'button' });
    close.addEventListener('click', () => this.close());
    this._toggle.addEventListener('click', () => this._toggleRun());
    const head = element('div', 'jp-agent-Opened-head');
    const buttons = element('div', 'jp-agent-Opened-buttons');
    buttons.append(this._toggle, close);
    head.append(this._name, buttons);
    this.node.append(head, this._parts, this._place);
    this._hideRun();
  }

  readonly node = element('div', 'jp-agent-Opened jp-agent-Workflow-opened', '', { role: 'region', tabindex: '0' });

  /** The number of the call that is open, or about to be; null where none is. */
  get number(): number | null {
    return this._number;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** This call is about to be open: what is in it may have to be asked for. */
  begin(number: number): void {
    if (number !== this._number) {
      this._hideRun();
      this._isFresh = true;
    }
    this._number = number;
  }

  /** Shows a call. Its run stays where it is shown, and is shown at once where a person is waited for: they answer there. */
  show(call: ICall, whole: IWholeCall): void {
    const { words, showRun } = this._options;
    const isNew = this.node.hidden;
    this.node.setAttribute('aria-label', words.__('Opened: %1', visible(call.name)));
    this._name.textContent = visible(call.name);
    if (call.runId !== this._runId) {
      this._hideRun();
      this._runId = call.runId;
    }
    this._toggle.hidden = !showRun || !call.runId;
    this._parts.replaceChildren(...this._partsOf(call, whole));
    this.node.hidden = false;
    if (isNew) {
      this.node.scrollTop = 0;
    }
    if (this._isFresh && call.state === 'waiting') {
      this.showRun();
    }
    this._isFresh = false;
  }

  /** Shows the run of the call that is open, below it. */
  showRun(): void {
    const { showRun, words } = this._options;
    if (!this._run && showRun && this._runId && !this.node.hidden) {
      this._run = showRun(this._runId, this._place);
      this._parts.hidden = true; // it says the same, and more
      this._place.scrollIntoView?.({ block: 'nearest' });
      this._toggle.textContent = words.__('Hide its run');
      this._toggle.setAttribute('aria-expanded', 'true');
    }
  }

  close(): void {
    if (this._number === null) {
      return;
    }
    const hadFocus = this.node.contains(document.activeElement);
    this._hideRun();
    this._number = null;
    this.node.hidden = true;
    this._parts.replaceChildren();
    this._options.closed();
    if (hadFocus) {
      this.node.parentElement?.querySelector<HTMLElement>('.jp-agent-Grid')?.focus();
    }
  }

  dispose(): void {
    this._isDisposed = true;
    this._run?.dispose();
    this._run = null;
    this.node.remove();
  }

  private _partsOf(call: ICall, { prompt, answer, error, field, was, now }: IWholeCall): HTMLElement[] {
    const { words } = this._options;
    const parts: HTMLElement[] = [];
    if (call.why && was !== null && now !== null) {
      const both = element('div', 'jp-agent-Workflow-both');
      both.append(
        part(words.__('%1 before', visible(field)), output(was, words, { lines: 6 })),
        part(words.__('%1 now', visible(field)), output(now, words, { lines: 6 }))
      );
      parts.push(part(visible(call.why), both));
    } else if (call.why) {
      parts.push(part(words.__('Why'), element('div', '', call.why)));
    }
    if (error) {
      parts.push(part(words.__('Error'), output(error, words)));
    }
    if (answer !== null) {
      parts.push(part(words.__('Answer'), this._answer(answer)));
    }
    parts.push(part(words.__('Prompt'), output(prompt, words, { lines: 8 })));
    return parts;
  }

  private _answer(answer: string): HTMLElement {
    if (laidOut(answer) !== null) {
      return output(answer, this._options.words);
    }
    const block = new MarkdownBlock(this._options.words);
    block.update(answer, false);
    return block.node;
  }

  private _toggleRun(): void {
    if (this._run) {
      this._hideRun();
    } else {
      this.showRun();
    }
  }

  private _hideRun(): void {
    this._run?.dispose();
    this._run = null;
    this._place.replaceChildren();
    this._parts.hidden = false;
    this._toggle.textContent = this._options.words.__('Show its run');
    this._toggle.setAttribute('aria-expanded', 'false');
  }

  private readonly _name = element('span', 'jp-agent-Opened-name');
  private readonly _toggle = element('button', 'jp-agent-Opened-close', '', { type: 'button' });
  private readonly _parts = element('div', 'jp-agent-Opened-content');
  private readonly _place = element('div', 'jp-agent-Workflow-run');
  private _number: number | null = null;
  private _runId = '';
  private _run: IDisposable | null = null;
  private _isFresh = false;
  private _isDisposed = false;
}

function part(label: string, content: HTMLElement): HTMLElement {
  const node = element('div', 'jp-agent-Opened-part');
  node.append(element('div', 'jp-agent-Opened-label', label), content);
  return node;
}
