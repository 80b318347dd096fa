/** The head of a run: how it stands, what it has used, and what one can do with all of it. */

import { CopyButton } from '../content/copy';
import { element } from '../content/element';
import type { CompactRun } from '../protocol';
import type { IWords } from '../tokens';
import {
  cacheRate,
  contextRate,
  duration,
  elapsedMs,
  isTerminal,
  money,
  percent,
  statusWord,
  tokens,
  tokensPerSecond
} from './figures';

export interface IHeaderOptions {
  readonly words: IWords;
  readonly stop: () => void;
  readonly toggleTall: () => void;
  readonly goOn: () => void;

  /** The answer, as the model wrote it. */
  readonly answer: () => string;
}

/** What the header shows beside the run itself. */
export interface IHeaderState {
  /** Whether the gateway would hear a stop. */
  readonly isLive: boolean;
  readonly isStopping: boolean;
  readonly isTall: boolean;

  /** Whether the thread can be continued from here, and whether that is being done. */
  readonly mayGoOn: boolean;
  readonly isGoingOn: boolean;

  /** The time to count to; null in a saved copy, where time stands still. */
  readonly now: number | null;
}

export class Header {
  constructor(private readonly _options: IHeaderOptions) {
    const { words } = _options;
    this._dot.setAttribute('aria-hidden', 'true');
    this._stop.type = this._tall.type = this._goOn.type = 'button';
    this._goOn.textContent = words.__('Continue');
    this._goOn.title = words.__('Write the next prompt of this thread');
    this._goOn.addEventListener('click', _options.goOn);
    this._stop.addEventListener('click', _options.stop);
    this._tall.addEventListener('click', _options.toggleTall);
    this._copy = new CopyButton(words, _options.answer);
    this._copy.node.title = words.__('Copy the answer as it was written');
    const status = element('div', 'jp-agent-Run-status');
    status.append(this._dot, this._word);
    const buttons = element('div', 'jp-agent-Run-buttons');
    buttons.append(this._copy.node, this._tall, this._goOn, this._stop);
    this._figures.setAttribute('role', 'list');
    this.node.append(status, this._figures, buttons);
  }

  readonly node = element('header', 'jp-agent-Run-header');

  update(run: CompactRun, state: IHeaderState): void {
    const { words } = this._options;
    const isActive = !isTerminal(run.status);
    this._word.textContent = statusWord(run.status, words);
    this._showFigures(run, state);
    this._stop.hidden = !isActive || !state.isLive;
    this._stop.disabled = state.isStopping;
    this._stop.textContent = state.isStopping ? words.__('Stopping…') : words.__('Stop');
    this._goOn.hidden = !state.mayGoOn;
    this._goOn.setAttribute('aria-expanded', String(state.isGoingOn));
    this._copy.node.hidden = this._options.answer() === '';
    this._tall.textContent = state.isTall ? words.__('Smaller') : words.__('Taller');
    this._tall.setAttribute('aria-pressed', String(state.isTall));
  }

  /** Shows or hides the button that makes the view taller. */
  set mayGrow(mayGrow: boolean) {
    this._tall.hidden = !mayGrow;
  }

  private _showFigures(run: CompactRun, { now }: IHeaderState): void {
    const { words } = this._options;
    const elapsed = elapsedMs(run, now);
    const turns = run.turns?.length ?? 0;
    const used = tokens(run);
    const cost = run.usage?.cost;
    const pace = isTerminal(run.status) ? null : tokensPerSecond(run);
    const context = contextRate(run);
    const cached = cacheRate(run);
    this._show('model', run.model ?? '', words.__('Model'));
    this._show('elapsed', elapsed === null ? '' : duration(elapsed < 1000 ? elapsed : Math.floor(elapsed / 100) * 100));
    this._show('turns', turns ? words._n('%2 turn', '%2 turns', turns, turns.toLocaleString()) : '');
    this._show(
      'tokens',
      used === null ? words.__('tokens unknown') : used ? words.__('%1 tokens', used.toLocaleString()) : '',
      used === null ? words.__('The provider did not report them') : this._tokenTitle(run)
    );
    this._show('cost', cost ? money(cost) : '', words.__('Cost so far, in US dollars'));
    this._show('pace', pace ? words.__('%1 tokens/s', Math.round(pace)) : '', words.__('Of the last turn'));
    const window = words.__('%1 of %2 tokens', run.contextUsed?.toLocaleString(), run.contextMax?.toLocaleString());
    this._show('context', context === null ? '' : words.__('context %1', percent(context)), window);
    this._show(
      'cache',
      cached === null ? '' : words.__('%1 cached', percent(cached)),
      words.__('Of all prompt tokens')
    );
  }

  private _tokenTitle({ usage = {} }: CompactRun): string {
    const { inputTokens = 0, outputTokens = 0, reasoningTokens = 0 } = usage;
    const { words } = this._options;
    const parts = [words.__('in %1', inputTokens.toLocaleString()), words.__('out %1', outputTokens.toLocaleString())];
    if (reasoningTokens) {
      parts.push(words.__('of which thinking %1', reasoningTokens.toLocaleString()));
    }
    return parts.join(' · ');
  }

  /** Shows one figure, in the order in which they were first shown. */
  private _show(name: string, text: string, title = ''): void {
    let node = this._shown.get(name);
    if (!node) {
      node = element('span', 'jp-agent-Run-figure');
      node.dataset.figure = name;
      node.setAttribute('role', 'listitem');
      this._shown.set(name, node);
      this._figures.append(node);
    }
    if (node.textContent !== text) {
      node.textContent = text;
    }
    node.hidden = text === '';
    if (node.title !== title) {
      node.title = title;
    }
  }

  private readonly _dot = element('span', 'jp-agent-Run-dot');
  private readonly _word = element('span', 'jp-agent-Run-word');
  private readonly _figures = element('div', 'jp-agent-Run-figures');
  private readonly _stop = element('button', 'jp-agent-Run-stop');
  private readonly _tall = element('button', 'jp-agent-Run-quiet');
  private readonly _goOn = element('button', 'jp-agent-Run-quiet');
  private readonly _copy: CopyButton;
  private readonly _shown = new Map<string, HTMLElement>();
}
