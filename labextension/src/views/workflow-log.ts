/** What a workflow's script told people: the last line, and behind it all that there are. */

import { element, prose, visible } from '../content/element';
import type { IWords } from '../tokens';

export class WorkflowLog {
  constructor(private readonly _words: IWords) {
    this.node.hidden = true;
    const summary = element('summary', 'jp-agent-Workflow-summary');
    summary.append(element('span', 'jp-agent-Workflow-loglabel', _words.__('Log')), this._last);
    this._lines.setAttribute('aria-label', _words.__('Log'));
    this.node.append(summary, this._lines);
  }

  readonly node = element('details', 'jp-agent-Workflow-log');

  show(lines: ReadonlyArray<string>, earlier: number): void {
    const said = JSON.stringify([lines, earlier]);
    if (said === this._said) {
      return;
    }
    this._said = said;
    this.node.hidden = lines.length === 0;
    this._last.textContent = visible(lines.at(-1) ?? '');
    const isAtEnd = this._lines.scrollTop + this._lines.clientHeight >= this._lines.scrollHeight - 4;
    const before = earlier
      ? [prose('li', 'jp-agent-Workflow-earlier', this._words.__('%1 earlier lines', earlier.toLocaleString()))]
      : [];
    this._lines.replaceChildren(...before, ...lines.map(line => prose('li', '', line)));
    if (isAtEnd) {
      this._lines.scrollTop = this._lines.scrollHeight;
    }
  }

  private readonly _last = element('span', 'jp-agent-Workflow-last');
  private readonly _lines = element('ol', 'jp-agent-Workflow-lines', '', { tabindex: '0' });
  private _said = '';
}
