/**
 * A run on the page: live where the page's gateway knows it, else as it was kept.
 *
 * Rules:
 * - It is drawn at most ten times a second, and only while somebody can see it.
 * - What was kept shows, and lets nobody act. Decisions are made on what the gateway says, in a place of their own
 *   below the stream, which nothing in the stream can imitate. They stay until the run itself does not wait any more:
 *   a connection that is refused takes nothing away that a person has begun.
 * - A part that cannot be shown does not take the rest along.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import { element } from '../content/element';
import { DecisionDock } from '../decisions/dock';
import { decisionIn } from '../decisions/endings';
import type { CompactRun } from '../protocol';
import { codeOf } from '../request';
import type { IRunModel, IRuns, IWords } from '../tokens';
import { Continuation } from './continuation';
import { isTerminal, statusWord } from './figures';
import { Header } from './header';
import { noticesOf } from './notice';
import { isRunId, parseSaved } from './saved';
import { Stream } from './stream';

export interface IRunViewOptions {
  readonly words: IWords;
  readonly runId: string;

  /** Null where there is no gateway. */
  readonly runs: IRuns | null;

  /** The compact transcript that was kept: data of unknown origin. */
  readonly saved?: unknown;

  /** Whether the thread can be continued below the run; it can by default. */
  readonly mayGoOn?: boolean;
}

/** Between two paintings, in milliseconds. */
const FRAME = 100;

/** Between two readings of the clock. */
const TICK = 1_000;

let count = 0;

export class RunView {
  constructor(options: IRunViewOptions) {
    const { words } = options;
    this._options = options;
    this._words = words;
    this._saved = parseSaved(options.saved);
    this._model = options.runs && isRunId(options.runId) ? options.runs.open(options.runId) : null;
    this._header = new Header({
      words,
      stop: () => void this._stop(),
      toggleTall: () => this._toggleTall(),
      goOn: () => this._goOn(),
      answer: () => this._answer()
    });
    this._stream = new Stream(words, `jp-agent-run-${(count += 1)}`);
    this._build();
    this._observeSight();
    this._model?.changed.connect(this._onChanged, this);
    this._paint();
  }

  readonly node = element('section', 'jp-agent-Run');

  /** The run as the gateway tells it; null in a copy. */
  get model(): IRunModel | null {
    return this._model;
  }

  /** The run has ended, and all of it is here. Emitted once. */
  get ended(): ISignal<this, void> {
    return this._ended;
  }

  /** Takes in what was kept later. It is shown only as long as the gateway says nothing. */
  show(saved: unknown): void {
    this._saved = parseSaved(saved) ?? this._saved;
    this._soon();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    clearTimeout(this._timer);
    clearInterval(this._clock);
    this._sight?.disconnect();
    this._model?.changed.disconnect(this._onChanged, this);
    this._model?.dispose();
    this._stream.dispose();
    this._dock?.dispose();
    this._continuation?.dispose();
    this.node.remove();
    Signal.clearData(this);
  }

  private _build(): void {
    const words = this._words;
    this._announcer.setAttribute('role', 'status');
    this.node.setAttribute('aria-label', words.__('Agent run'));
    this.node.append(this._header.node, this._stream.node, this._decisions, this._notices, this._announcer);
  }

  /** Nothing is drawn for a view that is scrolled away or in a hidden tab. */
  private _observeSight(): void {
    if (typeof IntersectionObserver === 'undefined') {
      return;
    }
    this._sight = new IntersectionObserver(entries => {
      this._isSeen = entries.at(-1)?.isIntersecting ?? true;
      if (this._isSeen && this._isStale) {
        this._soon();
      }
    });
    this._sight.observe(this.node);
  }

  private _onChanged(): void {
    if (this._model?.state === 'ended' && !this._hasEnded) {
      this._hasEnded = true;
      this._ended.emit();
    }
    this._soon();
  }

  private _soon(): void {
    this._isStale = true;
    // A decision that is asked for is put on the page even where nobody looks: it asks for a look.
    if (this._timer === undefined && !this._isDisposed && (this._isSeen || this._waits())) {
      const pause = Math.max(0, this._paintedAt + FRAME - performance.now());
      this._timer = setTimeout(() => requestAnimationFrame(() => this._paint()), pause);
    }
  }

  private _waits(): boolean {
    const status = this._model?.transcript?.status;
    return status === 'waiting_confirmation' || status === 'waiting_input';
  }

  private _paint(): void {
    this._timer = undefined;
    if (this._isDisposed) {
      return;
    }
    this._paintedAt = performance.now();
    this._isStale = false;
    this.paintings += 1;
    const live = this._live();
    // Where the gateway says nothing any more, the last that it said is nearer to the truth than what was kept.
    const shown = live ?? this._model?.transcript ?? this._saved;
    this.node.dataset.source = live ? this._model?.gateway.teller : 'copy';
    this.node.dataset.status = shown?.status ?? 'unknown';
    if (shown && isTerminal(shown.status)) {
      this._isStopping = false;
      this._fault = '';
    }
    this._showNotices(shown);
    this._showContinuation(live);
    this._header.node.hidden = this._stream.node.hidden = !shown;
    if (shown) {
      this._showHeader(shown, live !== null);
      this._showStream(shown, live !== null);
      this._announce(shown);
    }
    this._showDecisions();
    this._wind(live);
  }

  /** What the gateway says of the run, or null where it says nothing. */
  private _live(): CompactRun | null {
    const state = this._model?.state;
    return state === 'live' || state === 'behind' || state === 'ended' ? (this._model?.transcript ?? null) : null;
  }

  private _showHeader(run: CompactRun, isLive: boolean): void {
    this._header.update(run, {
      isLive,
      isStopping: this._isStopping,
      isTall: this._isTall,
      mayGoOn: isLive && this._continuation !== undefined,
      isGoingOn: this._isGoingOn,
      now: isLive ? (this._model?.gateway.now ?? null) : null
    });
  }

  private _showStream(run: CompactRun, isLive: boolean): void {
    this._stream.update(run, isLive ? (this._model?.gateway ?? null) : null);
    this._header.mayGrow = this._isTall || this._stream.isLong;
  }

  /** What waits, as the gateway told last. While it refuses us that may still wait, and a decision says what it says. */
  private _showDecisions(): void {
    const run = this._model && this._model.state !== 'absent' ? this._model.transcript : null;
    const { approvals = [], inputs = [] } = run ?? {};
    if (this._model && !this._dock && approvals.length + inputs.length > 0) {
      this._dock = this._makeDock(this._model);
      this._decisions.append(this._dock.node);
    }
    this._dock?.update(approvals, inputs, id => decisionIn(run, id));
  }

  private _makeDock(model: IRunModel): DecisionDock {
    return new DecisionDock({
      words: this._words,
      gateway: model.gateway,
      decide: (approvalId, decision) => this._act(() => model.decide(approvalId, decision)),
      answer: (requestId, content) => this._act(() => model.answer(requestId, content))
    });
  }

  /** Does something with the run. Where that works, what went wrong before is of no interest any more. */
  private async _act(deed: () => Promise<void>): Promise<void> {
    await deed();
    this._fault = '';
    this._soon();
  }

  /** Below a run that the gateway knows, its thread goes on. */
  private _showContinuation(live: CompactRun | null): void {
    const { gateway } = this._model ?? {};
    if (this._continuation || !live?.threadId || !gateway?.mayDecide || this._options.mayGoOn === false) {
      return;
    }
    const make = (runId: string): RunView => new RunView({ words: this._words, runs: this._options.runs, runId });
    this._continuation = new Continuation({ words: this._words, gateway, run: live, make });
    this._announcer.before(this._continuation.node);
  }

  private _goOn(): void {
    this._isGoingOn = this._continuation?.toggle() ?? false;
    this._soon();
  }

  private _showNotices(shown: CompactRun | null): void {
    const notices = noticesOf(shown, this._model, this._words);
    if (this._fault) {
      notices.push({ level: 'warning', text: this._fault, mayRetry: false });
    }
    const said = JSON.stringify(notices);
    if (said === this._noticed) {
      return;
    }
    this._noticed = said;
    this._notices.hidden = notices.length === 0;
    this._notices.replaceChildren(
      ...notices.map(({ level, text, mayRetry }) => {
        const line = element('div', 'jp-agent-Run-notice', text);
        line.dataset.level = level;
        if (mayRetry) {
          const retry = element('button', 'jp-agent-Run-quiet', this._words.__('Try again'));
          retry.type = 'button';
          retry.addEventListener('click', () => this._model?.reconnect());
          line.append(' ', retry);
        }
        return line;
      })
    );
  }

  /** Tells those who do not see it of the changes that matter. */
  private _announce({ status }: CompactRun): void {
    if (this._announced !== status) {
      const isFirst = this._announced === null;
      this._announced = status;
      this._announcer.textContent = isFirst && isTerminal(status) ? '' : statusWord(status, this._words);
    }
  }

  /** Keeps the clock going for as long as there is something to count. */
  private _wind(live: CompactRun | null): void {
    const ticks = live !== null && !isTerminal(live.status);
    if (ticks && this._clock === undefined) {
      this._clock = setInterval(() => {
        const run = this._live();
        if (run && this._isSeen) {
          this._showHeader(run, true);
        }
      }, TICK);
    } else if (!ticks) {
      clearInterval(this._clock);
      this._clock = undefined;
    }
  }

  private async _stop(): Promise<void> {
    if (!this._model || this._isStopping) {
      return;
    }
    this._isStopping = true;
    this._fault = '';
    this._soon();
    try {
      await this._model.interrupt();
    } catch (fault) {
      if (codeOf(fault) === 'run_finished') {
        return; // it has ended by itself, which is about to be shown
      }
      this._isStopping = false;
      const why = fault instanceof Error ? fault.message : String(fault);
      this._fault = this._words.__('The run could not be stopped: %1', why);
      this._soon();
    }
  }

  private _answer(): string {
    const run = this._model?.transcript ?? this._saved;
    return (run?.turns ?? []).findLast(({ text }) => text)?.text ?? '';
  }

  private _toggleTall(): void {
    this._isTall = !this._isTall;
    this.node.dataset.tall = String(this._isTall);
    this._paint();
  }

  /** How often it was drawn, for those who measure. */
  paintings = 0;

  private readonly _options: IRunViewOptions;
  private readonly _words: IWords;
  private readonly _model: IRunModel | null;
  private readonly _header: Header;
  private readonly _stream: Stream;
  private readonly _decisions = element('div', 'jp-agent-Run-decisions');
  private readonly _notices = element('div', 'jp-agent-Run-notices');
  private readonly _announcer = element('div', 'jp-agent-Run-announcer');
  private readonly _ended = new Signal<this, void>(this);
  private _saved: CompactRun | null;
  private _dock: DecisionDock | undefined;
  private _continuation: Continuation | undefined;
  private _sight: IntersectionObserver | undefined;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _clock: ReturnType<typeof setInterval> | undefined;
  private _paintedAt = -Infinity;
  private _isStale = false;
  private _isSeen = true;
  private _isTall = false;
  private _isGoingOn = false;
  private _isStopping = false;
  private _hasEnded = false;
  private _isDisposed = false;
  private _noticed: string | null = null;
  private _announced: string | null = null;
  private _fault = '';
}
