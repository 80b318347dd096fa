/**
 * The module that anywidget loads, once for every widget: what it returns belongs to one.
 *
 * `_kind` says which view it is. Nothing else of a widget's state is acted on than the id of a run.
 */

import type { IDisposable } from '@lumino/disposable';

import { element } from '../content/element';
import { keepKeys } from '../keys';
import { isViewKind } from '../views';
import { ApprovalsWidget } from './approvals';
import type { IWidgetModel } from './link';
import { RunWidget } from './run';
import { ViewWidget } from './view';
import { words } from './words';

interface IShown extends IDisposable {
  render(place: HTMLElement): () => void;
}

interface IContext {
  readonly model: IWidgetModel;
}

/** What can be shown, by kind. */
const KINDS: Readonly<Record<string, new (model: IWidgetModel) => IShown>> = {
  approvals: ApprovalsWidget,
  run: RunWidget
};

export default (): object => {
  let shown: IShown | null = null;
  return {
    initialize({ model }: IContext): () => void {
      keepKeys(window);
      const kind = String(model.get('_kind'));
      const Kind = isViewKind(kind) ? ViewWidget : Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
      shown = Kind ? new Kind(model) : null;
      return () => shown?.dispose();
    },

    render({ el }: IContext & { readonly el: HTMLElement }): (() => void) | void {
      el.classList.add('jp-agent-Widget');
      if (shown) {
        return shown.render(el);
      }
      el.append(element('p', '', words.__('This is no widget that this version of jupyter_agent knows.')));
    }
  };
};
