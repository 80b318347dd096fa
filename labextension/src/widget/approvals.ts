/** The widget of everything that waits for the person: decided here, where the gateway is reached or the kernel may. */

import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';
import { DecisionDock } from '../decisions/dock';
import { WaitingView } from '../decisions/waiting-view';
import type { Approval, InputNeeded } from '../protocol';
import { verdictOf } from '../runs';
import type { IDecision } from '../tokens';
import { toldByKernel } from '../view/notice';
import { CommGateway } from './comm';
import { holdRuns, holdWaiting } from './held';
import type { ISaid, IWidgetModel, KernelLink } from './link';
import { type IPlacesTimes, type ITold, Places, PLACES_TIMES } from './places';
import { type ISourceTimes, Source } from './source';
import { words } from './words';

interface IWaitingNow {
  readonly approvals: ReadonlyArray<Approval>;
  readonly inputs: ReadonlyArray<InputNeeded>;
  readonly isKnown: boolean;
  readonly fault: string | null;
}

export class ApprovalsWidget extends Places {
  constructor(model: IWidgetModel, times: Partial<IPlacesTimes & ISourceTimes> = {}) {
    const gatewayId = model.get('gateway_id');
    const isOwn = (answer: unknown): boolean => (answer as { gatewayId?: unknown } | null)?.gatewayId === gatewayId;
    const isKnown = typeof gatewayId === 'string' && gatewayId !== '';
    const source = new Source({ path: isKnown ? 'health' : null, isOwn }, document, times);
    super(new CommGateway(model, ''), source, { ...PLACES_TIMES, ...times });
    this._heard = new HeardWaiting(this.comm);
  }

  protected override fromGateway(): ITold {
    const runs = holdRuns(document);
    const waiting = holdWaiting(runs.value);
    return {
      show: place => {
        const view = new WaitingView({ words, runs: runs.value, waiting: waiting.value });
        place.append(view.node);
        return view;
      },
      end: () => {
        waiting.dispose();
        runs.dispose();
      }
    };
  }

  protected override fromKernel(): ITold {
    this.comm.resume();
    return this._heard;
  }

  protected override before(): string {
    return words.__('What waits for you is not known yet.');
  }

  private readonly _heard: HeardWaiting;
}

const UNKNOWN: IWaitingNow = { approvals: [], inputs: [], isKnown: false, fault: null };

/** What waits as the kernel tells it, unasked too, and its views. */
class HeardWaiting implements ITold {
  constructor(private readonly _comm: CommGateway) {
    _comm.link.said.connect(this._onSaid, this);
    _comm.link.changed.connect(this._tell, this);
  }

  show(place: HTMLElement): IDisposable {
    if (!this._now.isKnown) {
      this._comm.link.askForAll();
    }
    const view: KernelWaitingView = new KernelWaitingView(
      this._comm,
      () => this._now,
      () => this._views.delete(view)
    );
    this._views.add(view);
    place.append(view.node);
    return view;
  }

  end(): void {
    this._now = UNKNOWN;
  }

  private _onSaid(link: KernelLink, { type, text = '', reason = null, mayDecide, isNext }: ISaid): void {
    if (type === 'waiting' && text) {
      const { approvals = [], inputs = [] } = JSON.parse(text) as Partial<IWaitingNow>;
      this._comm.connection.mayDecide = mayDecide === true;
      this._now = { approvals, inputs, isKnown: true, fault: reason };
    } else {
      this._now = { ...this._now, fault: reason };
      if (!isNext) {
        link.askForAll();
      }
    }
    this._tell();
  }

  private _tell(): void {
    this._views.forEach(view => view.update());
  }

  private readonly _views = new Set<KernelWaitingView>();
  private _now = UNKNOWN;
}

/** Shows what the kernel tells, and has it decide where it may. */
class KernelWaitingView implements IDisposable {
  constructor(
    private readonly _comm: CommGateway,
    private readonly _now: () => IWaitingNow,
    private readonly _disposed: () => void
  ) {
    this._dock = new DecisionDock({
      words,
      gateway: _comm,
      decide: (approvalId, decision) => this._decide(approvalId, decision),
      answer: (requestId, content) => this._answer(requestId, content)
    });
    this._state.setAttribute('role', 'status');
    this.node.append(this._state, this._dock.node, element('div', 'jp-agent-Waiting-state', toldByKernel(words)));
    this.update();
  }

  readonly node = element('div', 'jp-agent-Waiting');

  get isDisposed(): boolean {
    return this._dock.isDisposed;
  }

  update(): void {
    const { approvals, inputs, isKnown, fault } = this._now();
    this._dock.update(approvals, inputs);
    const rest = isKnown ? words.__('Nothing waits for you.') : words.__('What waits for you is not known yet.');
    const isEmpty = approvals.length + inputs.length === 0;
    this._state.textContent = this._comm.link.trouble ?? fault ?? (isEmpty ? rest : '');
  }

  dispose(): void {
    this._dock.dispose();
    this.node.remove();
    this._disposed();
  }

  private async _decide(approvalId: string, decision: IDecision): Promise<void> {
    const asked = this._now().approvals.find(one => one.approvalId === approvalId);
    const { runId = '', toolCallId = '' } = asked ?? {};
    const verdict = verdictOf(decision);
    await this._comm.connection.send({ type: 'tool_confirmation', runId, toolCallId, approvalId, ...verdict });
  }

  private async _answer(requestId: string, content: string): Promise<void> {
    const { runId = '' } = this._now().inputs.find(one => one.requestId === requestId) ?? {};
    await this._comm.connection.send({ type: 'user_input', runId, requestId, content });
  }

  private readonly _dock: DecisionDock;
  private readonly _state = element('div', 'jp-agent-Waiting-state');
}
