/** The views of facts that there are, by the kind that a kernel or a notebook names. */

import { CacheChart } from './cache-chart';
import { CompareView } from './compare';
import { Timeline } from './timeline';
import { TraceTable } from './trace-table';
import type { IView, IViewOptions } from './view';
import { openedIn, WorkflowView } from './workflow';

export const VIEW_MIME = 'application/vnd.jupyter-agent.view+json';

const VIEWS: Readonly<Record<string, new (options: IViewOptions) => IView>> = {
  cache: CacheChart,
  compare: CompareView,
  timeline: Timeline,
  traces: TraceTable,
  workflow: WorkflowView
};

export function isViewKind(kind: string): boolean {
  return Object.hasOwn(VIEWS, kind);
}

/** Returns a view of this kind; null where there is no such kind. */
export function makeView(kind: string, options: IViewOptions): IView | null {
  const View = isViewKind(kind) ? VIEWS[kind] : undefined;
  return View ? new View(options) : null;
}

export { openedIn };
export type { IView, ShowRun } from './view';
