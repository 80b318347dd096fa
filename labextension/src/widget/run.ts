/** The widget of one run: follows it where it can be followed, shows it in any number of places. */

import type { IDisposable } from '@lumino/disposable';

import { Runs } from '../runs';
import type { IRuns } from '../tokens';
import { statusWord } from '../view/figures';
import { RunView } from '../view/run-view';
import { isRunId, parseSaved } from '../view/saved';
import { CommGateway } from './comm';
import { holdRuns } from './held';
import type { IWidgetModel } from './link';
import { type IPlacesTimes, type ITold, Places, PLACES_TIMES, seen } from './places';
import { type ISourceTimes, Source } from './source';
import { words } from './words';

export class RunWidget extends Places {
  constructor(model: IWidgetModel, times: Partial<IPlacesTimes & ISourceTimes> = {}) {
    const runId = model.get('run_id');
    const id = typeof runId === 'string' ? runId : '';
    const source = new Source({ path: isRunId(id) ? `runs/${id}` : null, isOwn: () => true }, document, times);
    // The kernel speaks unasked, so it is listened to before it is known whether that is needed.
    super(new CommGateway(model, id), source, { ...PLACES_TIMES, ...times });
    this._model = model;
    this._runId = id;
  }

  protected override fromGateway(): ITold {
    const hold = holdRuns(document);
    return new ToldRun(this._runId, hold.value, this.before(), { mayGoOn: true, end: () => hold.dispose() });
  }

  protected override fromKernel(): ITold {
    this.comm.resume();
    const runs = new Runs(this.comm);
    // What the kernel has told is kept from view to view: it need not be free to tell it again.
    runs.open(this._runId);
    // A kernel starts no run for a page, whatever it may decide.
    return new ToldRun(this._runId, runs, this.before(), { mayGoOn: false, end: () => runs.dispose() });
  }

  /** What the kernel saw last, in a few words; nothing in it is more than a figure. */
  protected override before(): string {
    const summary = this._model.get('summary');
    const fields = typeof summary === 'object' && summary !== null ? (summary as Record<string, unknown>) : {};
    const { status, turns } = fields;
    const known = parseSaved({ runId: this._runId, status });
    if (!known) {
      return '';
    }
    const count = typeof turns === 'number' ? turns : 0;
    return words.__(
      'Last seen: %1, %2.',
      statusWord(known.status, words),
      words._n('%2 turn', '%2 turns', count, count.toLocaleString())
    );
  }

  private readonly _model: IWidgetModel;
  private readonly _runId: string;
}

interface IToldOptions {
  /** Whether the thread can be continued below the run. */
  readonly mayGoOn: boolean;
  readonly end: () => void;
}

/** A run that is followed, and its views. */
class ToldRun implements ITold {
  constructor(
    private readonly _runId: string,
    private readonly _runs: IRuns,
    private readonly _lastSeen: string,
    private readonly _options: IToldOptions
  ) {}

  show(place: HTMLElement): IDisposable {
    const last = seen(place, this._lastSeen);
    const { mayGoOn } = this._options;
    const view = new RunView({ words, runId: this._runId, runs: this._runs, mayGoOn });
    place.append(view.node);
    const update = (): void => {
      last.line.hidden = Boolean(view.model?.transcript);
    };
    view.model?.changed.connect(update);
    update();
    return {
      get isDisposed(): boolean {
        return last.isDisposed;
      },
      dispose: () => {
        view.dispose();
        last.dispose();
      }
    };
  }

  end(): void {
    this._options.end();
  }
}
