/**
 * What the widgets of a page share for as long as one of them is shown: with the last the connection is closed.
 *
 * Every widget may come with a module of its own, so what is shared is found by name, and counts itself who holds it. What
 * our lab extension published lasts as long as the page.
 */

import { DisposableDelegate, type IDisposable } from '@lumino/disposable';

import { ActivityModel } from '../activity';
import type { IWaiting } from '../decisions/waiting-view';
import { foundRuns, pageGateway, publishRuns } from '../gateway';
import type { Run } from '../protocol';
import { requestAll } from '../request';
import { Runs } from '../runs';
import type { IRuns } from '../tokens';
import { foundWaiting, publishWaiting, WaitingModel } from '../waiting';

/** Something shared; disposing this lets go of one's part in it. */
export interface IHold<T> extends IDisposable {
  readonly value: T;
}

/** Counts who holds something, and ends it with the last. */
class Holds {
  constructor(private readonly _end: () => void) {}

  add(): IDisposable {
    this._count += 1;
    return new DisposableDelegate(() => {
      this._count -= 1;
      if (this._count === 0) {
        this._end();
      }
    });
  }

  private _count = 0;
}

class HeldRuns extends Runs {
  readonly holds = new Holds(() => {
    if (foundRuns() === this) {
      publishRuns(null);
    }
    this.dispose();
    this.gateway.connection.dispose();
  });
}

class HeldWaiting extends WaitingModel {
  constructor(runs: IRuns, activity: ActivityModel) {
    super(runs, activity);
    this.holds = new Holds(() => {
      if (foundWaiting() === this) {
        publishWaiting(null);
      }
      this.dispose();
      activity.dispose();
    });
  }

  readonly holds: Holds;
}

/** Holds the runs of the page's own gateway. Throws in a page that has none. */
export function holdRuns(page: Document): IHold<IRuns> {
  return held(foundRuns() ?? madeRuns(page));
}

/** Holds what waits in these runs. */
export function holdWaiting(runs: IRuns): IHold<IWaiting> {
  return held(foundWaiting() ?? madeWaiting(runs));
}

function held<T extends object>(value: T): IHold<T> {
  const { holds } = value as { readonly holds?: Holds };
  const hold = holds?.add() ?? new DisposableDelegate(() => undefined);
  return {
    value,
    get isDisposed(): boolean {
      return hold.isDisposed;
    },
    dispose: () => hold.dispose()
  };
}

function madeRuns(page: Document): IRuns {
  const gateway = pageGateway(page);
  if (!gateway) {
    throw new Error('This page comes from no Jupyter server.');
  }
  const runs = new HeldRuns(gateway);
  publishRuns(runs);
  return runs;
}

function madeWaiting(runs: IRuns): IWaiting {
  const { gateway } = runs;
  gateway.connection.connect();
  const list = (status: string): Promise<Run[]> => requestAll<Run>('runs', gateway, { status, limit: 200 });
  const waiting = new HeldWaiting(runs, new ActivityModel(gateway.connection, list));
  publishWaiting(waiting);
  return waiting;
}
