/**
 * An open tool call shows what the call is now, whatever it showed before.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import type { CompactCall } from '../protocol';
import { CallView } from '../view/call';
import { output } from '../content/output';
import { words as ours } from '../widget/words';
import { words } from './deciding';

const KEPT = 64 * 1024;

let view: CallView;

/** Shows a call that is going on; it is open from the first time. */
function show(call: Partial<CompactCall>): string {
  view.update({
    kind: 'call',
    key: 'turn-0-call-0',
    waits: false,
    call: { toolCallId: 'call_1', name: 'run_cell', startedAt: '2026-01-01T00:00:00Z', ...call }
  });
  return view.node.querySelector('.jp-agent-Call-body')?.textContent ?? '';
}

beforeEach(() => {
  view = new CallView({ words, gateway: null, opened: new Set(['turn-0-call-0']), isActive: true });
});

afterEach(() => view.dispose());

it('goes on with what a tool prints beyond what is kept of it', () => {
  expect(show({ progress: 'a'.repeat(KEPT) })).toContain('aaa');
  expect(show({ progress: 'b'.repeat(KEPT) })).toContain('bbb');
});

it('has the arguments of now, though they are as long as those before', () => {
  expect(show({ arguments: '{"path": "one.txt"}' })).toContain('one.txt');
  expect(show({ arguments: '{"path": "two.txt"}' })).toContain('two.txt');
});

it('has a result that is as long as another', () => {
  expect(show({ result: 'yes' })).toContain('yes');
  expect(show({ result: 'no!' })).toContain('no!');
});

it('stays as the reader left it while nothing of it changes', () => {
  show({ arguments: '{"path": "one.txt"}', progress: 'so far' });
  const shown = view.node.querySelector('.jp-agent-Call-body')?.firstChild;
  show({ arguments: '{"path": "one.txt"}', progress: 'so far', latencyMs: 12 });
  expect(view.node.querySelector('.jp-agent-Call-body')?.firstChild).toBe(shown);
});

test("counts of many figures read alike in our words and in JupyterLab's", () => {
  const text = 'line\n'.repeat(10_000);
  for (const said of [words, ours]) {
    expect(output(text, said).querySelector('button')!.textContent).toBe('9,980 more lines');
  }
});
