/**
 * The calls of a workflow, phase by phase: which came from the store, which ran, and why; live while they go on.
 *
 * It is drawn at most ten times a second. Only the lines on the screen are on the page.
 */

import { element, visible } from '../content/element';
import { duration } from '../view/figures';
import { Frame } from './frame';
import { Grid } from './grid';
import { OpenedCall } from './opened-call';
import type { IOpenedPlace, IView, IViewOptions } from './view';
import { CallCells, countsSaid, spentSaid, stateBar } from './workflow-cells';
import { type ICall, type IWorkflow, type Line, linesOf, readWhole, readWorkflow, sectionsOf } from './workflow-data';
import { WorkflowLog } from './workflow-log';

/** Between two paintings, and between two readings of the clock, in milliseconds. */
const FRAME = 100;
const TICK = 1_000;

/** So long nothing new may be kept of calls that go on: in an output that is older they do not. */
const FRESH = 30_000;

export class WorkflowView implements IView {
  constructor(private readonly _options: IViewOptions) {
    const { words, ask, showRun = null } = _options;
    this._frame = new Frame('Workflow', words.__('Workflow'));
    this._cells = new CallCells(words);
    this._grid = new Grid({
      label: words.__('Calls of a workflow: arrows to move, Enter to open'),
      draw: at => this._draw(at),
      mark: (row, at) => this._mark(row, at),
      press: at => this._press(at),
      fold: (at, isOpen) => this._fold(at, isOpen)
    });
    this._opened = new OpenedCall({ words, showRun, closed: () => this._onClosed() });
    this._log = new WorkflowLog(words);
    this._stop.hidden = true;
    this._stop.addEventListener('click', () => void this._onStop());
    this._frame.head.append(this._bar, this._figures, this._stop);
    this._frame.body.append(this._grid.node, this._opened.node, this._log.node);
    this.node.dataset.source = ask ? 'kernel' : 'copy';
  }

  get node(): HTMLElement {
    return this._frame.node;
  }

  get isDisposed(): boolean {
    return this._frame.isDisposed;
  }

  show(value: unknown): void {
    this._told = value;
    this._toldAt = Date.now();
    this._soon();
  }

  warn(trouble: string | null): void {
    this._isLost = trouble !== null;
    this._frame.warn(trouble);
    this._clock();
  }

  /** Opens what was open in another view of the same calls, with its run where that was shown. */
  async open({ number, hasRun }: IOpenedPlace): Promise<void> {
    const call = this._shown?.calls.find(one => one.number === number);
    if (call) {
      await this._open(call);
      if (hasRun) {
        this._opened.showRun();
      }
    }
  }

  dispose(): void {
    clearTimeout(this._painting);
    clearTimeout(this._aging);
    clearInterval(this._ticking);
    this._opened.dispose();
    this._grid.dispose();
    this._frame.dispose();
  }

  // --- what is shown ------------------------------------------------------------------------------------------------

  /** Paints now, or when the last time is long enough ago. */
  private _soon(): void {
    if (this._painting !== undefined || this._told === this._painted || this.isDisposed) {
      return;
    }
    this._paint();
    this._painting = setTimeout(() => {
      this._painting = undefined;
      this._soon();
    }, FRAME);
  }

  private _paint(): void {
    this._painted = this._told;
    const shown = (this._shown = readWorkflow(this._told));
    this._frame.title.textContent = visible(shown.title);
    const { counts, calls } = shown.sums;
    const isGoingOn = counts.running + counts.queued + counts.waiting > 0;
    const left = this._options.ask === null && isGoingOn ? shown.at + FRESH - Date.now() : Infinity;
    this._say(shown, left <= 0);
    this._cells.measure(shown.calls, left <= 0);
    clearTimeout(this._aging);
    this._aging = left > 0 && left <= FRESH ? setTimeout(() => this._paint(), left) : undefined;
    this._layOut();
    this._log.show(shown.log, shown.earlierLog);
    this._bar.replaceChildren(stateBar(counts, calls));
    this._stop.hidden = this._options.ask === null || !isGoingOn;
    if (this._stop.hidden) {
      this._stop.disabled = false;
    }
    this._stop.textContent = this._options.words.__(this._stop.disabled ? 'Stopping …' : 'Stop');
    this._renewOpened();
    this._clock();
  }

  private _say({ sums, leftOut, calls }: IWorkflow, isPast: boolean): void {
    const { words } = this._options;
    const left = leftOut
      ? words.__(
          'the first %1 calls are here, %2 more are not',
          calls.length.toLocaleString(),
          leftOut.toLocaleString()
        )
      : '';
    // What is said is read aloud with each change: how it stands, and not every figure.
    this._frame.say([...countsSaid(sums.counts, words, isPast), left].filter(Boolean).join(' · '));
    this._sayFigures();
  }

  private _sayFigures(): void {
    const { sums, seconds } = this._shown ?? readWorkflow(null);
    const took = seconds === null ? '' : duration(1_000 * (seconds + this._later()));
    this._figures.replaceChildren(
      ...[...spentSaid(sums, this._options.words), took]
        .filter(Boolean)
        .map((text, at) => element('span', at === 1 && sums.savedTokens > 0 ? 'jp-agent-Workflow-saved' : '', text))
    );
  }

  private _layOut(): void {
    const sections = sectionsOf(this._shown?.calls ?? []);
    this._lines = linesOf(sections, this._folded);
    const isTree = this._lines.some(line => 'section' in line);
    this._grid.node.hidden = this._lines.length === 0;
    this._grid.show(this._lines.length, this._cells.columns(), isTree ? 'tree' : 'grid');
    this._isTree = isTree;
  }

  /** Times of what runs go on between two tellings. */
  private _clock(): void {
    const isTicking = this._options.ask !== null && !this._isLost && (this._shown?.sums.counts.running ?? 0) > 0;
    if (!isTicking) {
      clearInterval(this._ticking);
      this._ticking = undefined;
    } else {
      this._ticking ??= setInterval(() => {
        this._grid.redraw();
        this._sayFigures();
      }, TICK);
    }
  }

  /** Seconds that have gone by since it was told, where times go on. */
  private _later(): number {
    return this._ticking === undefined ? 0 : (Date.now() - this._toldAt) / 1_000;
  }

  private _draw(at: number): HTMLElement[] {
    const line = this._lines[at];
    if (!line) {
      return [];
    }
    if ('section' in line) {
      return [this._cells.section(line.section, !this._folded.has(line.section.phase))];
    }
    return this._cells.call(line.call, this._isTree, this._later());
  }

  private _mark(row: HTMLElement, at: number): void {
    const line = this._lines[at];
    if (line && 'section' in line) {
      row.classList.add('jp-agent-Grid-group');
      row.setAttribute('aria-expanded', String(!this._folded.has(line.section.phase)));
      row.setAttribute('aria-level', '1');
    } else if (line) {
      row.dataset.opened = String(line.call.number === this._opened.number);
      row.dataset.state = line.call.state;
      if (this._isTree) {
        row.setAttribute('aria-level', '2');
      }
    }
  }

  // --- what somebody does -------------------------------------------------------------------------------------------

  private _press(at: number): void {
    const line = this._lines[at];
    if (line && 'section' in line) {
      this._fold(at, this._folded.has(line.section.phase));
    } else if (line && line.call.number === this._opened.number) {
      this._opened.close();
    } else if (line) {
      void this._open(line.call);
    }
  }

  private _fold(at: number, isOpen: boolean): void {
    const line = this._lines[at];
    if (line && 'section' in line && this._folded.has(line.section.phase) === isOpen) {
      if (isOpen) {
        this._folded.delete(line.section.phase);
      } else {
        this._folded.add(line.section.phase);
      }
      this._layOut();
    }
  }

  private async _open(call: ICall): Promise<void> {
    const { ask } = this._options;
    this._opened.begin(call.number);
    this._openedAs = stamp(call);
    this.node.dataset.opened = String(call.number);
    this._grid.redraw();
    let whole: unknown = this._shown?.opened[String(call.number)];
    if (ask) {
      whole = await ask({ type: 'call', number: call.number }).catch((fault: unknown) => this._warnOf(fault));
    }
    if (this._opened.number === call.number && !this.isDisposed && whole !== null) {
      this._opened.show(call, readWhole(whole));
    }
  }

  /** What is open may have gone on. */
  private _renewOpened(): void {
    const { number } = this._opened;
    const call = number === null ? undefined : this._shown?.calls.find(one => one.number === number);
    if (call && stamp(call) !== this._openedAs) {
      void this._open(call);
    } else if (!call) {
      this._opened.close();
    }
  }

  private _onClosed(): void {
    delete this.node.dataset.opened;
    this._grid.redraw();
  }

  private async _onStop(): Promise<void> {
    this._stop.disabled = true;
    this._stop.textContent = this._options.words.__('Stopping …');
    await this._options.ask?.({ type: 'stop' }).catch((fault: unknown) => {
      this._stop.disabled = false;
      this._stop.textContent = this._options.words.__('Stop');
      this._warnOf(fault);
    });
  }

  private _warnOf(fault: unknown): null {
    this._frame.warn(fault instanceof Error ? fault.message : String(fault));
    return null;
  }

  private readonly _frame: Frame;
  private readonly _grid: Grid;
  private readonly _cells: CallCells;
  private readonly _opened: OpenedCall;
  private readonly _log: WorkflowLog;
  private readonly _bar = element('span', 'jp-agent-Workflow-bar');
  private readonly _figures = element('span', 'jp-agent-Workflow-figures');
  private readonly _stop = element('button', 'jp-agent-Run-stop jp-agent-Workflow-stop', '', { type: 'button' });
  private readonly _folded = new Set<string>();
  private _lines: ReadonlyArray<Line> = [];
  private _isTree = false;
  private _isLost = false;
  private _shown: IWorkflow | null = null;
  private _told: unknown;
  private _painted: unknown;
  private _toldAt = 0;
  private _openedAs = '';
  private _painting: ReturnType<typeof setTimeout> | undefined;
  private _aging: ReturnType<typeof setTimeout> | undefined;
  private _ticking: ReturnType<typeof setInterval> | undefined;
}

/** Returns what is open in the view of calls in this node; null where nothing is. */
export function openedIn(node: HTMLElement): IOpenedPlace | null {
  const view = node.querySelector<HTMLElement>('.jp-agent-Workflow[data-opened]');
  const hasRun = view?.querySelector('.jp-agent-Workflow-run')?.hasChildNodes() ?? false;
  return view ? { number: Number(view.dataset.opened), hasRun } : null;
}

function stamp({ state, runId, error }: ICall): string {
  return `${state} ${runId} ${error}`;
}
