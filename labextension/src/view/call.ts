/**
 * One tool call in the stream: a line that says what was asked, how it stands and how long it took; the end of what it prints
 * while it works; pictures and changes at once; arguments and the result when the line is opened.
 */

import { argumentsLine, argumentsTable } from '../content/args';
import { diff } from '../content/diff';
import { element, plain, prose } from '../content/element';
import { output } from '../content/output';
import { Picture } from '../content/picture';
import type { CompactCall } from '../protocol';
import { duration } from './figures';
import type { IItemView, IScene } from './items';
import type { Item } from './slots';

type CallItem = Extract<Item, { kind: 'call' }>;

/** How a call stands, for the reader's eye. */
type State = 'asked' | 'waiting' | 'running' | 'done' | 'failed' | 'rejected' | 'unknown';

/** So many lines of live output are shown below the call. */
const LIVE_LINES = 5;

const SYMBOLS: Readonly<Record<State, string>> = {
  asked: '·',
  waiting: '?',
  running: '',
  done: '✓',
  failed: '✗',
  rejected: '⊘',
  unknown: '!'
};

let count = 0;

export class CallView implements IItemView<CallItem> {
  constructor(private readonly _scene: IScene) {
    const id = `jp-agent-call-${(count += 1)}`;
    this._line.type = 'button';
    this._line.setAttribute('aria-expanded', 'false');
    this._line.setAttribute('aria-controls', id);
    this._line.append(this._symbol, this._name, this._given, this._state, this._latency);
    this._line.addEventListener('click', () => this._toggle());
    this._symbol.setAttribute('aria-hidden', 'true');
    this._body.id = id;
    this._body.hidden = true;
    this.node.append(this._line, this._live, this._shown, this._body);
  }

  readonly node = element('div', 'jp-agent-Call');

  update(item: CallItem): void {
    const { call } = item;
    this._key = item.key;
    this._call = call;
    const state = stateOf(item, this._scene.isActive);
    this.node.dataset.state = state;
    set(this._symbol, SYMBOLS[state]);
    set(this._name, call.name || this._scene.words.__('(a tool without a name)'));
    this._showArguments(call);
    set(this._state, this._stateWord(state, call));
    set(this._latency, typeof call.latencyMs === 'number' ? duration(call.latencyMs) : '');
    this._showLive(call, state);
    this._showResult(call, state);
    this._setOpen(this._scene.opened.has(item.key));
  }

  dispose(): void {
    this._pictures.forEach(picture => picture.dispose());
    this._pictures = [];
  }

  private _toggle(): void {
    const { opened } = this._scene;
    if (!opened.delete(this._key)) {
      opened.add(this._key);
    }
    this._setOpen(opened.has(this._key));
  }

  private _showArguments({ name, arguments: given = '' }: CompactCall): void {
    if (this._givenText !== given) {
      this._givenText = given;
      set(this._given, argumentsLine(name, given));
    }
  }

  private _stateWord(state: State, call: CompactCall): string {
    const { words } = this._scene;
    switch (state) {
      case 'waiting':
        return words.__('waits for your approval');
      case 'rejected':
        return call.decision === 'expired' ? words.__('nobody approved in time') : words.__('rejected');
      case 'unknown':
        return words.__('nobody knows how it ended');
      case 'failed':
        return call.outcome === 'timed_out'
          ? words.__('took too long')
          : call.outcome === 'interrupted'
            ? words.__('stopped')
            : words.__('failed');
      default:
        return call.decision === 'edit' ? words.__('approved with changes') : '';
    }
  }

  /** The last lines of what it prints, while it works. */
  private _showLive({ progress = '', result }: CompactCall, state: State): void {
    const isLive = state === 'running' && typeof result !== 'string' && progress !== '';
    const lines = isLive ? progress.slice(-4_000).trimEnd().split('\n').slice(-LIVE_LINES) : [];
    this._live.hidden = lines.length === 0;
    set(this._live, lines.join('\n'));
  }

  /** What nobody should have to open the call for: changes, pictures, and the first line of what went wrong. */
  private _showResult(call: CompactCall, state: State): void {
    if (typeof call.result !== 'string' || this._hasResult) {
      return;
    }
    this._hasResult = true;
    if (state === 'failed' || state === 'unknown') {
      const lines = (call.error || call.result).trim().split('\n');
      this._shown.append(prose('div', 'jp-agent-Call-fault', (lines.at(-1) ?? '').slice(0, 300)));
    }
    if (call.diff) {
      this._shown.append(diff(call.diff, this._scene.words));
    }
    const { gateway, words } = this._scene;
    const pictures = Object.entries(call.mime ?? {}).filter(([mime]) => mime.startsWith('image/'));
    if (gateway && pictures.length > 0) {
      this._pictures = pictures.map(([mime, digest]) => new Picture(gateway, digest, mime, words));
      const row = element('div', 'jp-agent-Call-pictures');
      row.append(...this._pictures.map(({ node }) => node));
      this._shown.append(row);
    }
  }

  private _setOpen(isOpen: boolean): void {
    this._line.setAttribute('aria-expanded', String(isOpen));
    this._body.hidden = !isOpen;
    const call = this._call;
    if (!isOpen || !call) {
      this._filled = null;
      this._body.replaceChildren();
      return;
    }
    // A call grows in place. Its texts may change and stay as long: progress is cut at its beginning, arguments are edited.
    const given = [call.arguments, call.result, call.progress, call.isError];
    if (!this._filled?.every((value, place) => value === given[place])) {
      this._filled = given;
      this._fill(call);
    }
  }

  private _fill(call: CompactCall): void {
    const { words, gateway } = this._scene;
    const parts: HTMLElement[] = [];
    if (call.arguments) {
      parts.push(this._part(words.__('Arguments'), argumentsTable(call.arguments, words)));
    }
    if (typeof call.result === 'string') {
      const title = call.isError ? words.__('What went wrong') : words.__('Result');
      parts.push(this._part(title, output(call.result || words.__('(nothing)'), words)));
      if (call.truncated) {
        parts.push(this._rest(call.blob ?? null, gateway !== null));
      }
    } else if (call.progress) {
      parts.push(this._part(words.__('So far'), output(call.progress, words)));
    }
    this._body.replaceChildren(...parts);
  }

  private _part(title: string, shown: HTMLElement): HTMLElement {
    const node = element('div', 'jp-agent-Call-part');
    node.append(element('div', 'jp-agent-Call-title', title), shown);
    return node;
  }

  /** Offers the whole of a result that was cut, where the gateway has it. */
  private _rest(digest: string | null, isAtHand: boolean): HTMLElement {
    const { words } = this._scene;
    if (!digest || !isAtHand) {
      return element('div', 'jp-agent-Call-title', words.__('This is only its beginning; the whole is on the server.'));
    }
    const button = element('button', 'jp-agent-Run-quiet', words.__('Show all of it'));
    button.type = 'button';
    button.addEventListener('click', () => void this._showAll(digest, button));
    return button;
  }

  private async _showAll(digest: string, button: HTMLButtonElement): Promise<void> {
    const { gateway, words } = this._scene;
    if (!gateway) {
      return;
    }
    button.disabled = true;
    try {
      const whole = await (await gateway.blob(digest)).text();
      button.replaceWith(this._part(words.__('All of it'), output(whole, words)));
    } catch (fault) {
      const why = fault instanceof Error ? fault.message : String(fault);
      button.disabled = false;
      button.textContent = words.__('It could not be loaded (%1). Try again', why);
    }
  }

  private readonly _line = element('button', 'jp-agent-Call-line');
  private readonly _symbol = element('span', 'jp-agent-Call-symbol');
  private readonly _name = element('span', 'jp-agent-Call-name');
  private readonly _given = element('span', 'jp-agent-Call-given');
  private readonly _state = element('span', 'jp-agent-Call-state');
  private readonly _latency = element('span', 'jp-agent-Call-latency');
  private readonly _live = element('pre', 'jp-agent-Call-live');
  private readonly _shown = element('div', 'jp-agent-Call-shown');
  private readonly _body = element('div', 'jp-agent-Call-body');
  private _pictures: Picture[] = [];
  private _call: CompactCall | null = null;
  private _key = '';
  private _givenText: string | null = null;
  /** What the open body shows; null while it is closed. */
  private _filled: ReadonlyArray<unknown> | null = null;
  private _hasResult = false;
}

function stateOf({ call, waits }: CallItem, isActive: boolean): State {
  const { outcome } = call;
  if (outcome === 'rejected') {
    return 'rejected';
  }
  if (outcome === 'unknown') {
    return 'unknown';
  }
  if (outcome === 'error' || outcome === 'timed_out' || outcome === 'interrupted') {
    return 'failed';
  }
  if (typeof call.result === 'string') {
    return call.isError ? 'failed' : 'done';
  }
  if (waits) {
    return 'waiting';
  }
  if (call.startedAt) {
    return isActive ? 'running' : 'unknown';
  }
  return 'asked';
}

/** Sets the text only where it changes: the page lays out nothing anew for what stays. */
function set(node: HTMLElement, text: string): void {
  const shown = plain(text);
  if (node.textContent !== shown) {
    node.textContent = shown;
  }
}
