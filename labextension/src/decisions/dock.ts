/**
 * The place of decisions, apart from what the agent says: nothing in a message can get here or look like it.
 *
 * Cards keep their place, and what the person has typed, while other things come and go. Of several one is open, the rest
 * is counted: many questions at once are how somebody is worn down.
 */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { element } from '../content/element';
import type { Approval, Decision, InputNeeded } from '../protocol';
import type { IDecision, IGateway, IWords } from '../tokens';
import { ApprovalCard } from './approval';
import type { Card } from './card';
import { farewell } from './endings';
import { QuestionCard } from './question';

/** How long a card says how it ended, in milliseconds. */
export const FAREWELL = 2_500;

export interface IDockOptions {
  readonly words: IWords;
  readonly gateway: IGateway;
  decide(approvalId: string, decision: IDecision): Promise<void>;
  answer(requestId: string, content: string): Promise<void>;
}

type DecisionOf = (toolCallId: string) => Decision | null;

interface IPlace {
  readonly card: Card;

  /** The tool call of an approval. */
  readonly toolCallId: string | null;
  leaving: ReturnType<typeof setTimeout> | undefined;
}

export class DecisionDock implements IDisposable {
  constructor(options: IDockOptions) {
    this._options = options;
    const { words } = options;
    this.node.tabIndex = -1;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', words.__('Decisions that wait for you'));
    this._more.type = 'button';
    this._more.addEventListener('click', () => {
      this._isUnfolded = !this._isUnfolded;
      this._arrange();
    });
    const banner = element('div', 'jp-agent-Dock-banner', words.__('Your decision'));
    banner.append(
      element('span', 'jp-agent-Dock-about', words.__('Real buttons are only here, whatever the agent draws.'))
    );
    this.node.append(banner, this._list, this._more);
    this._arrange();
  }

  readonly node = element('div', 'jp-agent-Dock');

  /** Whether it shows nothing, not even how something ended. */
  get isEmpty(): boolean {
    return this._places.size === 0;
  }

  /** The last of what it showed is gone. */
  get emptied(): ISignal<this, void> {
    return this._emptied;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Shows these. `decisionOf` tells of a tool call that does not wait any more what was decided, if it is known. */
  update(approvals: ReadonlyArray<Approval>, inputs: ReadonlyArray<InputNeeded>, decisionOf?: DecisionOf): void {
    const waiting = new Set<string>();
    for (const approval of approvals) {
      waiting.add(approval.approvalId);
      this._keep(approval.approvalId, approval.toolCallId, () => this._approvalCard(approval));
    }
    for (const asked of inputs) {
      waiting.add(asked.requestId);
      this._keep(asked.requestId, null, () => this._questionCard(asked));
    }
    for (const [id, place] of this._places) {
      if (!waiting.has(id)) {
        this._endPlace(id, place, decisionOf);
      }
    }
    this._arrange();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
      this._places.forEach(({ card, leaving }) => {
        clearTimeout(leaving);
        card.dispose();
      });
      this._places.clear();
      this.node.remove();
    }
  }

  private _keep(id: string, toolCallId: string | null, make: () => Card): void {
    const place = this._places.get(id);
    if (place && place.leaving === undefined) {
      return;
    }
    if (place) {
      this._drop(id, place); // it was gone and waits again
    }
    const card = make();
    this._places.set(id, { card, toolCallId, leaving: undefined });
    this._list.append(card.node);
  }

  private _endPlace(id: string, place: IPlace, decisionOf?: DecisionOf): void {
    if (place.leaving !== undefined) {
      return;
    }
    const { words } = this._options;
    const decision = place.toolCallId === null ? null : decisionOf?.(place.toolCallId);
    const unknown = words.__('It does not wait any more: it was decided elsewhere, or the run is over.');
    place.card.end(decision ? farewell(decision, words) : unknown);
    place.leaving = setTimeout(() => {
      this._drop(id, place);
      this._arrange();
      if (this.isEmpty) {
        this._emptied.emit();
      }
    }, FAREWELL);
  }

  private _drop(id: string, place: IPlace): void {
    const hadFocus = place.card.node.contains(document.activeElement);
    clearTimeout(place.leaving);
    place.card.dispose();
    this._places.delete(id);
    if (hadFocus && this._places.size > 0) {
      this.node.focus({ preventScroll: true });
    }
  }

  /** Opens the first that waits, and counts the others. */
  private _arrange(): void {
    const waiting = [...this._places.values()].filter(({ leaving, card }) => leaving === undefined && !card.isOver);
    const others = waiting.slice(1);
    for (const place of this._places.values()) {
      place.card.node.hidden = others.includes(place) && !this._isUnfolded;
    }
    this.node.hidden = this.isEmpty;
    this._more.hidden = others.length === 0;
    this._more.setAttribute('aria-expanded', String(this._isUnfolded));
    const { words } = this._options;
    const count = others.length === 1 ? words.__('1 more waits') : words.__('%1 more wait', others.length);
    this._more.textContent = this._isUnfolded ? words.__('Show one at a time') : count;
  }

  private _approvalCard(approval: Approval): Card {
    const { words, gateway } = this._options;
    const decide = (decision: IDecision): Promise<void> => this._options.decide(approval.approvalId, decision);
    return new ApprovalCard(approval, { words, gateway, decide });
  }

  private _questionCard(asked: InputNeeded): Card {
    const { words, gateway } = this._options;
    const answer = (content: string): Promise<void> => this._options.answer(asked.requestId, content);
    return new QuestionCard(asked, { words, gateway, answer });
  }

  private readonly _options: IDockOptions;
  private readonly _places = new Map<string, IPlace>();
  private readonly _list = element('div', 'jp-agent-Dock-list');
  private readonly _more = element('button', 'jp-agent-Dock-more');
  private readonly _emptied = new Signal<this, void>(this);
  private _isUnfolded = false;
  private _isDisposed = false;
}
