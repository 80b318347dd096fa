/** The items of the stream on the page: the prompt, thinking, text, errors. Tool calls have a file of their own. */

import { element, plain, prose } from '../content/element';
import { MarkdownBlock } from '../content/markdown';
import type { IGateway, IWords } from '../tokens';
import { CallView } from './call';
import { duration, turnMs } from './figures';
import type { ISlotView } from './list';
import type { ISlot, Item } from './slots';

/** What items need to know of the view that shows them. */
export interface IScene {
  readonly words: IWords;

  /** Null in a saved copy: pictures and long results are not at hand. */
  readonly gateway: IGateway | null;

  /** What the reader has opened, by the item's key: it stays open when the item is made anew. */
  readonly opened: Set<string>;

  /** Whether the run is still going: what has no end yet may still get one. */
  readonly isActive: boolean;
}

/** One item on the page. */
export interface IItemView<T extends Item = Item> {
  readonly node: HTMLElement;
  update(item: T): void;
  dispose(): void;
}

/** A slot's items in their order. An item that cannot be shown says so and takes nothing along. */
export class SlotView implements ISlotView {
  constructor(
    slot: ISlot,
    private readonly _scene: IScene
  ) {
    this.update(slot);
  }

  readonly node = element('div', 'jp-agent-Run-items');

  update(slot: ISlot): void {
    slot.items.forEach((item, index) => {
      const node = this._shown(item).node;
      if (this.node.children[index] !== node) {
        this.node.insertBefore(node, this.node.children[index] ?? null);
      }
    });
    const keys = new Set(slot.items.map(({ key }) => key));
    for (const [key, view] of this._views) {
      if (!keys.has(key)) {
        view.dispose();
        view.node.remove();
        this._views.delete(key);
      }
    }
  }

  dispose(): void {
    this._views.forEach(view => view.dispose());
    this._views.clear();
  }

  private _shown(item: Item): IItemView {
    const known = this._views.get(item.key);
    try {
      const view = known ?? make(item, this._scene);
      view.update(item);
      this._views.set(item.key, view);
      return view;
    } catch (fault) {
      console.error('jupyter_agent: an item could not be shown', fault);
      known?.dispose();
      known?.node.remove();
      const broken = new BrokenView(this._scene.words);
      this._views.set(item.key, broken);
      return broken;
    }
  }

  private readonly _views = new Map<string, IItemView>();
}

function make(item: Item, scene: IScene): IItemView {
  const views: { readonly [K in Item['kind']]: new (scene: IScene) => IItemView<Extract<Item, { kind: K }>> } = {
    origin: OriginView,
    prompt: PromptView,
    thinking: ThinkingView,
    text: TextView,
    call: CallView,
    error: ErrorView
  };
  return new views[item.kind](scene) as IItemView;
}

/** Where a forked run comes from: what stood before its first turn is shown there. */
class OriginView implements IItemView<Extract<Item, { kind: 'origin' }>> {
  constructor(private readonly _scene: IScene) {}

  readonly node = element('div', 'jp-agent-Run-who');

  update({ runId, turn }: Extract<Item, { kind: 'origin' }>): void {
    this.node.textContent = plain(this._scene.words.__('Forked from %1 before turn %2', runId, String(turn)));
  }

  dispose(): void {
    // There is nothing to let go of.
  }
}

/** A prompt of more lines is shown folded. */
const PROMPT_LINES = 8;
const PROMPT_CHARACTERS = 1_000;

class PromptView implements IItemView<Extract<Item, { kind: 'prompt' }>> {
  constructor(private readonly _scene: IScene) {
    this.node.append(element('div', 'jp-agent-Run-who', _scene.words.__('You')), this._text, this._more);
    this._more.type = 'button';
    this._more.addEventListener('click', () => this._toggle());
  }

  readonly node = element('div', 'jp-agent-Run-prompt');

  update(item: Extract<Item, { kind: 'prompt' }>): void {
    if (this._shown === item.text) {
      return;
    }
    this._shown = item.text;
    const { words } = this._scene;
    const pictures = item.pictures ? words._n('(with %1 picture)', '(with %1 pictures)', item.pictures) : '';
    const isLong = item.text.length > PROMPT_CHARACTERS || item.text.split('\n').length > PROMPT_LINES;
    this._text.textContent = plain([item.text.trim(), pictures].filter(Boolean).join('\n'));
    this._more.hidden = !isLong;
    this._fold(isLong && !this._scene.opened.has(item.key));
    this._key = item.key;
  }

  dispose(): void {
    // Its listener goes with its node.
  }

  private _toggle(): void {
    const { opened } = this._scene;
    if (!opened.delete(this._key)) {
      opened.add(this._key);
    }
    this._fold(!opened.has(this._key));
  }

  private _fold(isFolded: boolean): void {
    this._text.dataset.folded = String(isFolded);
    this._more.setAttribute('aria-expanded', String(!isFolded));
    this._more.textContent = isFolded ? this._scene.words.__('Show all') : this._scene.words.__('Show less');
  }

  private readonly _text = element('div', 'jp-agent-Run-asked');
  private readonly _more = element('button', 'jp-agent-Run-quiet');
  private _shown: string | null = null;
  private _key = '';
}

class ThinkingView implements IItemView<Extract<Item, { kind: 'thinking' }>> {
  constructor(private readonly _scene: IScene) {
    this.node.append(this._summary, this._text);
    this.node.addEventListener('toggle', () => this._onToggle());
  }

  readonly node = element('details', 'jp-agent-Run-thinking');

  update({ key, turn }: Extract<Item, { kind: 'thinking' }>): void {
    this._key = key;
    this._thought = plain(turn.thinking ?? '');
    const { words, opened, isActive } = this._scene;
    const isDone = !isActive || !!turn.isComplete || !!turn.text || (turn.toolCalls ?? []).length > 0;
    const ms = turn.isComplete && !turn.text && !turn.toolCalls?.length ? turnMs(turn) : null;
    const done = ms === null ? words.__('Thought') : words.__('Thought for %1', duration(ms));
    this._summary.textContent = isDone ? done : words.__('Thinking…');
    this.node.dataset.active = String(!isDone);
    if (opened.has(key) !== this.node.open) {
      this.node.open = opened.has(key);
    }
    this._fill();
  }

  dispose(): void {
    // Its listener goes with its node.
  }

  private _onToggle(): void {
    if (this.node.open) {
      this._scene.opened.add(this._key);
    } else {
      this._scene.opened.delete(this._key);
    }
    this._fill();
  }

  /** The text is put on the page only while somebody reads it. */
  private _fill(): void {
    const shown = this.node.open ? this._thought.slice(-THINKING_SHOWN) : '';
    if (this._text.textContent !== shown) {
      this._text.textContent = shown;
    }
  }

  private readonly _summary = element('summary', 'jp-agent-Run-thinkingSummary');
  private readonly _text = element('div', 'jp-agent-Run-thought');
  private _key = '';
  private _thought = '';
}

/** Of more thinking the end is shown. */
const THINKING_SHOWN = 50_000;

class TextView implements IItemView<Extract<Item, { kind: 'text' }>> {
  constructor(private readonly _scene: IScene) {
    this._markdown = new MarkdownBlock(_scene.words);
    this.node.append(this._markdown.node);
  }

  readonly node = element('div', 'jp-agent-Run-text');

  update({ turn, isLast }: Extract<Item, { kind: 'text' }>): void {
    const isStreaming = isLast && this._scene.isActive && !turn.isComplete;
    const text = turn.text ?? '';
    if (text !== this._shown || isStreaming !== this._isStreaming) {
      this._shown = text;
      this._isStreaming = isStreaming;
      this._markdown.update(text, isStreaming);
    }
  }

  dispose(): void {
    this._markdown.dispose();
  }

  private readonly _markdown: MarkdownBlock;
  private _shown: string | null = null;
  private _isStreaming = false;
}

class ErrorView implements IItemView<Extract<Item, { kind: 'error' }>> {
  constructor(private readonly _scene: IScene) {}

  readonly node = element('div', 'jp-agent-Run-error');

  update({ error }: Extract<Item, { kind: 'error' }>): void {
    const title = this._scene.words.__('The run failed (%1)', error.code);
    const message = error.message.slice(0, 10_000);
    this.node.replaceChildren(element('b', '', title), prose('div', 'jp-agent-Run-message', message));
  }

  dispose(): void {
    // There is nothing to let go of.
  }
}

/** Stands where an item could not be shown. */
class BrokenView implements IItemView {
  constructor(words: IWords) {
    this.node = element('div', 'jp-agent-Run-error', words.__('This part cannot be shown. It is kept on the server.'));
  }

  readonly node: HTMLElement;

  update(): void {
    // What broke once is not tried again at every change.
  }

  dispose(): void {
    // There is nothing to let go of.
  }
}
