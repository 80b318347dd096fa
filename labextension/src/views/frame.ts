/** What all views of facts have around them: a title, what is to be said of them, and what goes wrong. */

import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';

export class Frame implements IDisposable {
  constructor(kind: string, label: string) {
    this.title.id = `jp-agent-view-${UUID.uuid4()}`;
    this.node = element('section', `jp-agent-View jp-agent-${kind}`, '', { 'aria-labelledby': this.title.id });
    this.title.textContent = label;
    this._said.setAttribute('role', 'status');
    this._trouble.setAttribute('role', 'status');
    this._trouble.hidden = true;
    this.head.append(this.title, this._said);
    this.node.append(this.head, this._trouble, this.body);
  }

  readonly node: HTMLElement;
  readonly head = element('header', 'jp-agent-View-head');
  readonly title = element('span', 'jp-agent-View-title');
  readonly body = element('div', 'jp-agent-View-body');

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Says something beside the title, made visible. */
  say(text: string): void {
    if (this._said.textContent !== text) {
      this._said.textContent = text;
    }
  }

  /** Says what is wrong, or that nothing is. */
  warn(trouble: string | null): void {
    this._trouble.textContent = trouble ?? '';
    this._trouble.hidden = !trouble;
  }

  dispose(): void {
    this._isDisposed = true;
    this.node.remove();
  }

  private readonly _said = element('span', 'jp-agent-View-said');
  private readonly _trouble = element('div', 'jp-agent-View-trouble');
  private _isDisposed = false;
}
