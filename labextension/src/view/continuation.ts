/**
 * How a thread goes on below a run: the runs that were started from here, each in a view of its own, and the composer.
 *
 * Runs that other cells started on the same thread stand in those cells, not here.
 */

import { element } from '../content/element';
import type { AnyFrame, CompactRun, Run } from '../protocol';
import type { ConnectionState, IConnection, IGateway, IWords } from '../tokens';
import { Composer } from './composer';

/** A view of a run that follows. */
export interface INested {
  readonly node: HTMLElement;
  dispose(): void;
}

export interface IContinuationOptions {
  readonly words: IWords;
  readonly gateway: IGateway;
  readonly run: CompactRun;
  readonly make: (runId: string) => INested;
}

/** So many of the thread's newest runs are looked through for those that follow this one. */
const LOOKED_AT = 50;

/** Changes that come one upon the other are looked at together, in milliseconds. */
const PAUSE = 200;

export class Continuation {
  constructor(private readonly _options: IContinuationOptions) {
    this.node.append(this._nested);
    const { connection } = _options.gateway;
    connection.received.connect(this._onFrame, this);
    connection.stateChanged.connect(this._onState, this);
    void this._find();
  }

  readonly node = element('div', 'jp-agent-Run-continuation');

  /** Opens the composer, or closes it; returns whether it is open. A text that was begun is kept. */
  toggle(): boolean {
    const { gateway, run, words } = this._options;
    if (!this._composer) {
      this._composer = new Composer({
        words,
        gateway,
        threadId: run.threadId ?? '',
        runId: run.runId,
        model: run.model ?? null,
        changed: () => void this._find()
      });
      this.node.append(this._composer.node);
    } else {
      this._composer.node.hidden = !this._composer.node.hidden;
    }
    const isOpen = !this._composer.node.hidden;
    if (isOpen) {
      this._composer.focus();
    }
    return isOpen;
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._looking);
    const { connection } = this._options.gateway;
    connection.received.disconnect(this._onFrame, this);
    connection.stateChanged.disconnect(this._onState, this);
    this._composer?.dispose();
    this._shown.forEach(view => view.dispose());
    this._shown.clear();
    this.node.remove();
  }

  /** A page that is told of all one's runs hears of those that were started elsewhere. */
  private _onFrame(_: IConnection, frame: AnyFrame): void {
    const isNews = frame.type === 'run_changed' && !this._shown.has(frame.runId);
    if (isNews && frame.followUpToRunId === this._options.run.runId) {
      this._soon();
    }
  }

  /** What was told while the connection was lost, nobody heard. */
  private _onState(_: IConnection, state: ConnectionState): void {
    this._wasLost ||= state === 'waiting';
    if (this._wasLost && state === 'open') {
      this._wasLost = false;
      this._soon();
    }
  }

  private _soon(): void {
    clearTimeout(this._looking);
    this._looking = setTimeout(() => void this._find(), PAUSE);
  }

  private async _find(): Promise<void> {
    const { gateway, run } = this._options;
    if (!run.threadId) {
      return;
    }
    try {
      const query = { threadId: run.threadId, limit: LOOKED_AT };
      const { items = [] }: { items?: ReadonlyArray<Run> } = await gateway.request('runs', { query });
      const following = items.filter(item => item.followUpToRunId === run.runId && hasBegun(item));
      following.reverse().forEach(({ runId }) => this._add(runId));
    } catch {
      // What follows is found again when the view is opened again; the run itself is shown all the same.
    }
  }

  private _add(runId: string): void {
    if (!this._isDisposed && !this._shown.has(runId)) {
      const view = this._options.make(runId);
      this._shown.set(runId, view);
      this._nested.append(view.node);
    }
  }

  private readonly _nested = element('div', 'jp-agent-Run-nested');
  private readonly _shown = new Map<string, INested>();
  private _composer: Composer | undefined;
  private _isDisposed = false;
  private _wasLost = false;
  private _looking: ReturnType<typeof setTimeout> | undefined;
}

/** A prompt that waits is in the composer's list; one that was taken back is nowhere. */
function hasBegun({ queued, status, startedAt }: Run): boolean {
  return !queued && (status !== 'interrupted' || !!startedAt);
}
