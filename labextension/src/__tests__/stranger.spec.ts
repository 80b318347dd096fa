import { guard, type INotebookLike, isNotebook, withoutModules } from '../stranger';

const MIME = 'application/vnd.jupyter.widget-state+json';
const SLIDER = { model_name: 'IntSliderModel', model_module: '@jupyter-widgets/controls', state: { value: 3 } };
const HOSTILE = { model_name: 'AnyModel', model_module: 'anywidget', state: { _esm: 'alert(1)' } };

function widgets(models: Record<string, unknown>): Record<string, unknown> {
  return { [MIME]: { version_major: 2, state: models } };
}

function notebook(kept: unknown, ...trusted: boolean[]): INotebookLike {
  return {
    cells: [{ type: 'markdown', trusted: false }, ...trusted.map(one => ({ type: 'code', trusted: one }))],
    getMetadata: key => (key === 'widgets' ? kept : key)
  };
}

describe('the widgets that a notebook keeps', () => {
  it.each([
    ['of a stranger', [false]],
    ['in part of a stranger', [true, false]],
    ['without outputs to go by', []]
  ])('are without those that bring code: %s', (_, trusted) => {
    const model = notebook(widgets({ a: SLIDER, b: HOSTILE }), ...trusted);
    guard(model);
    expect(model.getMetadata('widgets')).toEqual(widgets({ a: SLIDER }));
    expect(model.getMetadata('other')).toBe('other');
  });

  it('are all there in a notebook that is trusted, also when it becomes so later', () => {
    const kept = widgets({ a: SLIDER, b: HOSTILE });
    const cell = { type: 'code', trusted: false };
    const model: INotebookLike = { cells: [cell], getMetadata: () => kept };
    guard(model);
    expect(model.getMetadata('widgets')).not.toEqual(kept);
    cell.trusted = true;
    expect(model.getMetadata('widgets')).toBe(kept);
  });

  it.each([
    ['by another name', { ...HOSTILE, model_module: 'else' }],
    ['by a style', { ...SLIDER, state: { _css: '@import "x"' } }],
    ['by the module that loads them', { ...HOSTILE, state: {} }]
  ])('bring no code %s', (_, model) => {
    expect(withoutModules(widgets({ a: model }))).toEqual(widgets({}));
  });

  it.each([[undefined], [null], ['text'], [[]], [{}], [{ [MIME]: 7 }], [{ [MIME]: { state: [] } }]])(
    'may be nonsense: %j',
    kept => {
      expect(withoutModules(kept)).toEqual(kept);
    }
  );

  it('are asked of notebooks alone', () => {
    expect(isNotebook(notebook(null))).toBe(true);
    expect(isNotebook({ getMetadata: () => null })).toBe(false);
  });
});
