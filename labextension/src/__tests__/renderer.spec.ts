/**
 * Runs in outputs, as JupyterLab shows them: its own models and registry, a gateway over real sockets and requests.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import {
  IRenderMimeRegistry,
  OutputModel,
  RenderMimeRegistry,
  standardRendererFactories
} from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { CommandRegistry } from '@lumino/commands';
import { Panel, Widget } from '@lumino/widgets';

import { Keeper, MIME_TYPE } from '../keeper';
import { renderer } from '../plugins/renderer';
import { RunRenderer } from '../renderer';
import type { Runs } from '../runs';
import { IConnection, IRuns } from '../tokens';
import { words } from '../widget/words';
import { activateAll } from './page';
import { event, pause, Peer, until } from './peer';
import { transcriptOf } from './journals';

const RUN = 'run_00000000000000000001';
const OTHER = 'run_00000000000000000002';
const WIDGET_VIEW = 'application/vnd.jupyter.widget-view+json';

const says = (seq: number, content: string): object =>
  event(RUN, seq, { type: 'agent_event', event: { kind: 'text_delta', content } });
const ended = (seq: number): object =>
  event(RUN, seq, { type: 'session_complete', status: 'completed', finalState: 'completed', usage: {} });

let peer: Peer;
let runs: Runs;
let connection: IConnection;
let registry: RenderMimeRegistry;
let journal: object[];
let shown: RunRenderer[];

beforeEach(async () => {
  peer = await Peer.start();
  journal = [event(RUN, 1, { type: 'status_change', status: 'running' })];
  shown = [];
  peer.onRequest = path => {
    if (path === `/jupyter-agent/api/runs/${RUN}/transcript`) {
      return [200, transcriptOf(RUN, journal)];
    }
    if (path === `/jupyter-agent/api/runs/${RUN}/display`) {
      return [200, bundle({ runId: RUN, status: 'completed', turns: [{ turn: 0, text: 'The end.' }] })];
    }
    return [404, { code: 'run_not_found', message: 'There is no such run.' }];
  };
  registry = new RenderMimeRegistry({ initialFactories: standardRendererFactories });
  const find = activateAll(peer, new CommandRegistry(), new Map([[IRenderMimeRegistry, registry]]));
  runs = find(IRuns) as Runs;
  connection = find(IConnection);
});

afterEach(async () => {
  shown.forEach(one => one.dispose());
  runs.dispose();
  connection.dispose();
  await peer.stop();
});

function bundle(kept: unknown, text = 'agent run'): Record<string, unknown> {
  return { [MIME_TYPE]: kept, 'text/html': '<b>agent run</b>', 'text/plain': text };
}

function output(data: Record<string, unknown>, trusted = false): OutputModel {
  return new OutputModel({ value: { output_type: 'display_data', data: data as never, metadata: {} }, trusted });
}

function make(patience = 5_000): RunRenderer {
  const made = new RunRenderer({ words, runs, keeper: new Keeper(runs.gateway, patience) });
  Widget.attach(made, document.body);
  shown.push(made);
  return made;
}

/** As an output area does it: whatever becomes of the model is rendered by the same renderer. */
async function show(model: OutputModel, made = make()): Promise<RunRenderer> {
  model.changed.connect(() => void made.renderModel(model));
  await made.renderModel(model);
  look(made);
  return made;
}

/** Scrolls to it. */
function look(made: RunRenderer): void {
  made.node.querySelectorAll<HTMLElement & { reveal(): void }>('.jp-agent-Run').forEach(view => view.reveal());
}

function append(...events: object[]): void {
  journal.push(...events);
  peer.sockets.at(-1)?.say(...events);
}

describe('which of a bundle', () => {
  const everything = { ...bundle({ runId: RUN }), [WIDGET_VIEW]: { model_id: 'gone' } } as never;

  test.each(['ensure', 'prefer', 'any'] as const)('is shown where safety is "%s": the run', safety => {
    const createRenderer = (): IRenderMime.IRenderer => make();
    const notebook = registry.clone();
    notebook.addFactory({ safe: false, mimeTypes: [WIDGET_VIEW], createRenderer }, -10);
    expect(notebook.preferredMimeType(everything, safety)).toBe(MIME_TYPE);
    expect(notebook.createRenderer(MIME_TYPE)).toBeInstanceOf(RunRenderer);
  });

  test('is shown where there is no gateway: the run, as it was kept', async () => {
    const plain = new RenderMimeRegistry();
    renderer.activate({} as JupyterFrontEnd, plain, null, null);
    const made = plain.createRenderer(MIME_TYPE) as RunRenderer;
    shown.push(made);
    await made.renderModel(output(bundle({ runId: RUN, status: 'completed', turns: [{ turn: 0, text: 'Kept.' }] })));
    expect(made.node.textContent).toContain('Kept.');
    expect(made.node.textContent).toContain('Saved copy');
  });
});

test.each([true, false])('a run is shown live, in a notebook that is trusted: %s', async trusted => {
  const made = await show(output(bundle({ runId: RUN, status: 'running' }), trusted));
  await until(() => connection.state === 'open' && runs.size === 1);
  await until(() => peer.sockets.at(-1)?.heard.some(({ type }) => type === 'follow') ?? false);
  append(says(2, 'Some <b>words</b>.'));
  await until(() => made.node.textContent?.includes('Some <b>words</b>.') ?? false);
  expect(made.node.querySelector('b')).toBeNull();
});

test('updates of a display go on in the same view; another run gets another', async () => {
  const model = output(bundle({ runId: OTHER, status: 'running', turns: [{ turn: 0, text: 'one' }] }));
  const made = await show(model);
  await until(() => made.node.textContent?.includes('does not know the run') ?? false);
  const view = made.node.querySelector('.jp-agent-Run');
  model.setData({
    data: bundle({ runId: OTHER, status: 'completed', turns: [{ turn: 0, text: 'one two' }] }) as never
  });
  await until(() => made.node.textContent?.includes('one two') ?? false);
  expect(made.node.querySelector('.jp-agent-Run')).toBe(view);
  model.setData({ data: bundle({ runId: RUN, status: 'running' }) as never });
  expect(made.node.querySelectorAll('.jp-agent-Run').length).toBe(1);
  expect(made.node.querySelector('.jp-agent-Run')).not.toBe(view);
});

test.each([
  null,
  17,
  'run_00000000000000000001',
  [],
  {},
  { runId: 17 },
  { runId: '../../api/contents' },
  { runId: 'run_00000000000000000001\n' },
  JSON.parse('{"__proto__": {"runId": "run_00000000000000000001"}}')
])('what is no run is shown as its text: %j', async kept => {
  const made = await show(output(bundle(kept, 'A <img src=x onerror=alert(1)> run')));
  expect(made.node.querySelector('.jp-agent-Output-fault')?.textContent).toContain('cannot be read');
  expect(made.node.querySelector('pre')?.textContent).toBe('A <img src=x onerror=alert(1)> run');
  expect(made.node.querySelectorAll('img, b, script').length).toBe(0);
  expect(peer.requests.filter(request => request.includes('transcript'))).toEqual([]);
});

test.each<[string, object]>([
  ['wrong types', { status: 7, turns: { length: 3 }, usage: 'much', waiting: [null, 1] }],
  [
    'approvals',
    { status: 'waiting_confirmation', approvals: [{ approvalId: 'a', toolName: 'run_cell', arguments: '' }] }
  ],
  ['depth', { status: 'running', turns: JSON.parse('['.repeat(1_000) + ']'.repeat(1_000)) }],
  ['length', { status: 'running', turns: new Array(500_000).fill({ text: 'x' }) }],
  ['one long text', { status: 'running', turns: [{ turn: 0, text: 'x'.repeat(5_000_000) }] }]
])('hostile data break nothing: %s', async (_, fields) => {
  const began = performance.now();
  const made = await show(output(bundle({ runId: OTHER, ...fields })));
  await until(() => /does not know the run|no such run/.test(made.node.textContent ?? ''));
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(made.node.querySelectorAll('*').length).toBeLessThan(2_000);
  expect(
    [...made.node.querySelectorAll('button')].filter(({ textContent }) => /approve/i.test(textContent ?? ''))
  ).toEqual([]);
});

test('many views share a run, and the last one that goes lets it go', async () => {
  const views = await Promise.all([1, 2, 3].map(() => show(output(bundle({ runId: RUN, status: 'running' })))));
  await until(() => runs.size === 1);
  await until(() => peer.requests.some(request => request.includes('transcript')));
  await pause(30);
  expect(peer.requests.filter(request => request.includes('transcript')).length).toBe(1);
  views.forEach(view => view.dispose());
  views.forEach(view => view.dispose());
  expect(runs.size).toBe(0);
});

describe("a run that this page's server does not know", () => {
  const data = { ...bundle({ runId: OTHER, status: 'running' }), [WIDGET_VIEW]: { model_id: 'm' } };
  let widgets: FakeWidget[];

  /** The renderer of widgets: what it shows comes later, if the widget is alive. */
  class FakeWidget extends Widget implements IRenderMime.IRenderer {
    async renderModel(): Promise<void> {
      widgets.push(this);
      this.node.textContent = 'Loading widget...';
    }

    live(): void {
      const place = document.createElement('div');
      place.className = 'jp-agent-Widget';
      this.node.replaceChildren(place);
    }
  }

  async function around(trusted: boolean, hasWidgets = true): Promise<RunRenderer> {
    widgets = [];
    const rendermime = registry.clone();
    if (hasWidgets) {
      rendermime.addFactory({ safe: false, mimeTypes: [WIDGET_VIEW], createRenderer: () => new FakeWidget() }, -10);
    }
    const area = Object.assign(new Panel(), { rendermime });
    Widget.attach(area, document.body);
    const made = new RunRenderer({ words, runs, keeper: null });
    shown.push(made);
    const rendered = made.renderModel(output(data, trusted));
    area.addWidget(made);
    await rendered;
    look(made);
    await until(() => made.node.textContent?.includes('does not know the run') ?? false);
    await pause(20);
    return made;
  }

  const own = (made: RunRenderer): HTMLElement | null => made.node.querySelector('.jp-agent-Run');

  test('is shown by its widget as soon as that is alive', async () => {
    const made = await around(true);
    const [widget] = widgets;
    expect([widgets.length, widget!.isHidden, own(made)?.hidden]).toEqual([1, true, false]);
    widget!.live();
    await until(() => !widget!.isHidden);
    expect([widget!.isVisible, own(made)?.hidden]).toEqual([true, true]);
    made.dispose();
    expect(widget!.isDisposed).toBe(true);
  });

  test.each([
    ['not trusted', false, true],
    ['without widgets', true, false]
  ])('is shown as it was kept in a notebook %s', async (_, trusted, hasWidgets) => {
    const made = await around(trusted, hasWidgets);
    expect([widgets.length, own(made)?.hidden]).toEqual([0, false]);
  });
});

describe('the end of a run', () => {
  const partial = { runId: RUN, status: 'running', turns: [{ turn: 0, text: 'The beg' }] };
  const kept = (model: OutputModel): { status: string } => model.data[MIME_TYPE] as unknown as { status: string };
  const asked = (): number => peer.requests.filter(request => request.includes('/display')).length;

  test('is kept in the output where the kernel did not see to it, once for all views of it', async () => {
    const model = output({ ...bundle(partial), [WIDGET_VIEW]: { model_id: 'm' } });
    let writes = 0;
    model.changed.connect(() => (writes += 1));
    await Promise.all([show(model, make(40)), show(model, make(40))]);
    await until(() => runs.size === 1);
    await pause(80);
    expect(asked()).toBe(0);
    append(says(2, 'The end.'), ended(3));
    await until(() => kept(model).status === 'completed');
    await pause(120);
    expect(writes).toBe(1);
    expect(Object.keys(model.data).sort()).toEqual([MIME_TYPE, WIDGET_VIEW, 'text/html', 'text/plain'].sort());
    expect(model.toJSON()).toMatchObject({ data: { [MIME_TYPE]: { status: 'completed' } } });
  });

  test('is kept for a run that was over before the notebook was opened', async () => {
    journal.push(ended(2));
    const model = output(bundle(partial));
    await show(model, make(20));
    await until(() => kept(model).status === 'completed');
  });

  test('is left to the kernel where that sees to it', async () => {
    journal.push(ended(2));
    const model = output(bundle(partial));
    await show(model, make(60));
    await until(() => peer.requests.some(request => request.includes('transcript')));
    model.setData({ data: bundle({ ...partial, status: 'completed' }) as never });
    await pause(150);
    expect(asked()).toBe(0);
  });

  test('is not kept in an output that has become another, or is gone', async () => {
    journal.push(ended(2));
    const [first, second] = [output(bundle(partial)), output(bundle(partial))];
    await show(first, make(40));
    const gone = await show(second, make(40));
    await until(() => peer.requests.some(request => request.includes('transcript')));
    first.setData({ data: bundle({ runId: OTHER, status: 'running' }) as never });
    gone.dispose();
    await pause(150);
    expect([asked(), kept(first).status, kept(second).status]).toEqual([0, 'running', 'running']);
  });

  test.each<[string, readonly [number, unknown]]>([
    ['nothing', [404, { code: 'not_found', message: 'There is nothing here.' }]],
    ['no bundle', [200, null]],
    ['another run', [200, bundle({ runId: OTHER, status: 'completed' })]],
    ['a run that goes on', [200, bundle({ runId: RUN, status: 'running' })]]
  ])('is not made up where the server answers %s', async (_, answer) => {
    journal.push(ended(2));
    const before = peer.onRequest;
    peer.onRequest = (path, ...more) => (path.endsWith('/display') ? answer : before(path, ...more));
    const model = output(bundle(partial));
    await show(model, make(20));
    await until(() => asked() === 1);
    await pause(60);
    expect(kept(model)).toEqual(partial);
  });
});
