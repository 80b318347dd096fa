/**
 * Views in outputs: what a notebook says of them is shown, or said to be unreadable, and never more than that.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { OutputModel } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';

import { ViewRenderer } from '../view-renderer';
import { VIEW_MIME } from '../views';
import { words } from '../widget/words';

async function shown(kept: unknown): Promise<ViewRenderer> {
  const data = { [VIEW_MIME]: kept, 'text/plain': '3 rows, as text' } as never;
  const made = new ViewRenderer(words);
  Widget.attach(made, document.body);
  await made.renderModel(new OutputModel({ value: { output_type: 'display_data', data, metadata: {} } }));
  return made;
}

const deep = (levels: number): unknown => (levels ? [deep(levels - 1)] : 'traces');

test.each([
  ['of no kind', {}],
  ['of no type', 7],
  ['of a kind that every object has', { kind: 'constructor' }],
  ['of the kind of all kinds', JSON.parse('{"kind": "__proto__", "__proto__": {"kind": "traces"}}')],
  ['of a kind that is no text', { kind: { toString: 1 } }],
  ['of a kind that reads like one', { kind: ['traces'] }],
  ['of a kind deep in lists', { kind: deep(1_000) }],
  ['that is too much', { kind: 'traces', rows: ['x'.repeat(1_000_001)] }]
])('what is kept %s is shown as the text that came along', async (_, kept) => {
  const made = await shown(kept);
  expect(made.node.textContent).toContain('it cannot be read');
  expect(made.node.textContent).toContain('3 rows, as text');
  expect(made.node.querySelector('.jp-agent-View')).toBeNull();
  made.dispose();
});

test.each(['traces', 'timeline', 'cache', 'compare', 'workflow'])(
  'a copy of %s is shown, and asks nobody',
  async kind => {
    const made = await shown({ kind, title: 'x', rows: [] });
    expect(made.node.querySelector('.jp-agent-View')!.getAttribute('data-source')).toBe('copy');
    made.dispose();
    expect(made.node.querySelector('.jp-agent-View')).toBeNull();
  }
);

test('an update of the same display is shown by the same view', async () => {
  const told = (name: string): object => ({ kind: 'workflow', title: name, rows: [] });
  const made = await shown(told('one'));
  const view = made.node.querySelector('.jp-agent-View')!;
  const data = { [VIEW_MIME]: told('two') } as never;
  await new Promise(resolve => setTimeout(resolve, 150));
  await made.renderModel(new OutputModel({ value: { output_type: 'display_data', data, metadata: {} } }));
  expect(made.node.querySelectorAll('.jp-agent-View').length).toBe(1);
  expect(made.node.querySelector('.jp-agent-View')).toBe(view);
  expect(view.textContent).toContain('two');
  made.dispose();
});
