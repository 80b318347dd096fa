/**
 * Has outputs hold their runs as they ended, where the kernel that would have seen to it is gone.
 *
 * Rules:
 * - The kernel comes first: it has some seconds for it.
 * - What is written is the server's own answer for a run of one's own, never anything that a notebook holds.
 * - It is written through the model of the output, so that the document knows and the person saves it, and once: whoever
 *   comes second, another view of the output or another page of a shared document, finds it done.
 */

import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { DisposableDelegate, type IDisposable } from '@lumino/disposable';

import type { IGateway } from './tokens';
import { isTerminal } from './view/figures';
import { isRunId, parseSaved } from './view/saved';

export const MIME_TYPE = 'application/vnd.jupyter-agent.run+json';

/** How long the kernel has, in milliseconds. Pages do not wait equally long, so that one is first. */
const PATIENCE = 5_000;

/** Returns the output's model as it is then; null when it is gone. */
type Current = () => IRenderMime.IMimeModel | null;

export class Keeper {
  constructor(
    private readonly _gateway: IGateway,
    private readonly _patience: number = PATIENCE
  ) {}

  /** Sees to it, unless what is returned is disposed before. */
  keep(runId: string, current: Current): IDisposable {
    let isWanted = true;
    const timer = setTimeout(
      () => void this._keep(runId, () => (isWanted ? current() : null)),
      this._patience * (1 + Math.random() / 2)
    );
    return new DisposableDelegate(() => {
      isWanted = false;
      clearTimeout(timer);
    });
  }

  private async _keep(runId: string, current: Current): Promise<void> {
    if (!this._lacks(runId, current())) {
      return;
    }
    let bundle: ReadonlyPartialJSONObject;
    try {
      bundle = await this._gateway.request<ReadonlyPartialJSONObject>(`runs/${runId}/display`);
    } catch {
      return; // what is kept says that it is partial, and the next one who opens it tries again
    }
    const model = current();
    if (model && this._lacks(runId, model) && isFinal(runId, bundle)) {
      model.setData({ data: { ...model.data, ...bundle } });
    }
  }

  /** Tells whether this output is of the run and does not hold its end. */
  private _lacks(runId: string, model: IRenderMime.IMimeModel | null): boolean {
    return model !== null && runIdOf(model.data[MIME_TYPE]) === runId && !isFinal(runId, model.data);
  }
}

/** Returns the id of the run that is kept, or null for what names none. */
export function runIdOf(kept: unknown): string | null {
  const isOne = typeof kept === 'object' && kept !== null && Object.hasOwn(kept, 'runId');
  const runId: unknown = isOne ? Reflect.get(kept, 'runId') : null;
  return isRunId(runId) ? runId : null;
}

function isFinal(runId: string, bundle: ReadonlyPartialJSONObject | undefined): boolean {
  const run = parseSaved(bundle?.[MIME_TYPE]);
  return run?.runId === runId && isTerminal(run.status);
}
