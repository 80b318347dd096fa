/**
 * A notebook whose outputs are not trusted may not bring code along in the state of its widgets.
 *
 * JupyterLab shows widgets of trusted outputs only, but their manager makes the models of all that a notebook keeps, and
 * anywidget, which comes with us, loads a model's module while it is made. So a notebook that is only looked at would run
 * what it likes. Here the state of such models is left out until the notebook is trusted; the file stays as it is.
 */

const KEY = 'widgets';
const STATE = 'application/vnd.jupyter.widget-state+json';

/** What is needed of a notebook's model. */
export interface INotebookLike {
  readonly cells: Iterable<{ readonly type: string; readonly trusted?: boolean }>;
  getMetadata(key: string): unknown;
}

/** Whether this document is a notebook. */
export function isNotebook(model: object): model is INotebookLike {
  return 'cells' in model && 'getMetadata' in model;
}

/** Has whoever asks this notebook for its widgets get none that load code, as long as it is a stranger's. */
export function guard(model: INotebookLike): void {
  const ask = model.getMetadata.bind(model);
  model.getMetadata = key => {
    const kept = ask(key);
    return key === KEY && !isTrusted(model) ? withoutModules(kept) : kept;
  };
}

/** As JupyterLab has it: by the outputs that its user made or took for good. Without any there is nothing to go by. */
function isTrusted({ cells }: INotebookLike): boolean {
  const code = [...cells].filter(({ type }) => type === 'code');
  return code.length > 0 && code.every(({ trusted }) => trusted);
}

/** Returns the metadata of widgets without the models that name a module of their own. */
export function withoutModules(kept: unknown): unknown {
  const saved = isObject(kept) ? kept[STATE] : undefined;
  const models = isObject(saved) ? saved.state : undefined;
  if (!isObject(kept) || !isObject(saved) || !isObject(models)) {
    return kept;
  }
  const harmless = Object.entries(models).filter(([, model]) => !bringsCode(model));
  return { ...kept, [STATE]: { ...saved, state: Object.fromEntries(harmless) } };
}

function bringsCode(model: unknown): boolean {
  if (!isObject(model)) {
    return false;
  }
  const { model_module: module, state } = model;
  // Whatever its module is called: these are the fields that anywidget loads.
  return module === 'anywidget' || (isObject(state) && ('_esm' in state || '_css' in state));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
