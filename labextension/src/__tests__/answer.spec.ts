/**
 * Answering as a page has it: the plugins, JupyterLab's own dialogs and notifications, over real sockets and requests.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import WebSocket from 'ws';

import { visible } from '../components/preview';
import plugins from '../index';
import type { Approval, InputNeeded } from '../protocol';
import type { IConnection } from '../tokens';
import { closeDialogs, event, Peer, pause, until, welcome } from './peer';

const AT = '2026-01-01T00:00:00Z';
const ARMED = 600;

let peer: Peer;
let commands: CommandRegistry;
let connection: IConnection;
let approvals: Map<string, Approval>;
let blobs: Map<string, unknown>;
let inputs: InputNeeded[];
let posted: [string, unknown][];
/** What is answered to whatever is posted. */
let verdict: readonly [number, unknown];
/** The journal of each waiting run, as its follower gets it. */
let journals: Map<string, object[]>;

function approval(approvalId: string, more: Partial<Approval> = {}): Approval {
  return {
    approvalId,
    runId: 'run_a',
    toolCallId: `call_${approvalId}`,
    toolName: 'run_cell',
    arguments: '{"code": "1 + 1"}',
    effects: ['exec'],
    preview: { tool: 'run_cell', arguments: { code: '1 + 1' }, code: '1 + 1', lines: 1, hash: 'h' },
    askedAt: AT,
    expiresAt: AT,
    ...more
  };
}

/** Lets a tool call of a run wait, in the server's records and in the run's journal. */
function wait(one: Approval): void {
  approvals.set(one.approvalId, one);
  const { approvalId, runId, toolCallId, toolName: name, effects, expiresAt, preview } = one;
  const fields = { type: 'tool_confirmation_request', approvalId, toolCallId, effects, expiresAt, preview };
  append(runId, { ...fields, tool: { identifier: name, apiName: name, name, arguments: '' } });
}

function ask(one: InputNeeded): void {
  inputs.push(one);
  append(one.runId, { type: 'input_request', requestId: one.requestId, prompt: one.prompt });
}

function append(runId: string, fields: object): void {
  const journal = journals.get(runId) ?? [];
  journals.set(runId, [...journal, event(runId, journal.length + 1, fields)]);
  peer.sockets[0]?.say(event(runId, journal.length + 1, fields));
}

function resolve(approvalId: string, decision: string): void {
  append('run_a', { type: 'approval_resolved', approvalId, toolCallId: `call_${approvalId}`, decision });
}

function tell(runId: string, status: string): void {
  peer.sockets[0]?.say({ type: 'run_changed', runId, threadId: 'thr_a', change: 'status', status });
}

async function activate(): Promise<void> {
  const settings = ServerConnection.makeSettings({
    baseUrl: peer.url,
    wsUrl: peer.url.replace('http', 'ws'),
    token: 'secret',
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket
  });
  commands = new CommandRegistry();
  const app = { commands, serviceManager: { serverSettings: settings } } as unknown as JupyterFrontEnd;
  const [first, second, third] = plugins as unknown as { activate: (...services: unknown[]) => unknown }[];
  connection = first?.activate(app) as IConnection;
  const activity = second?.activate(app, connection) as { readonly isCurrent: boolean };
  third?.activate(app, connection, activity, null, nullTranslator);
  await until(() => activity.isCurrent);
}

const notices = (): string[] => Notification.manager.notifications.map(({ message }) => message);
const dialog = (): HTMLElement | null => document.querySelector('.jp-agent-Answer');
const text = (selector: string): string => document.querySelector(selector)?.textContent ?? '';
const button = (label: string): HTMLButtonElement =>
  [...document.querySelectorAll<HTMLButtonElement>('.jp-Dialog-footer button')].find(
    ({ textContent }) => textContent === label
  ) as HTMLButtonElement;
const reveal = (): void => (document.querySelector('.jp-agent-Answer-end') as unknown as { reveal(): void }).reveal();
const field = (): HTMLTextAreaElement => document.querySelector('.jp-agent-Answer-field') as HTMLTextAreaElement;

function type(words: string): void {
  field().value = words;
  field().dispatchEvent(new Event('input', { bubbles: true }));
}

/** Runs the command; the promise is of its end. */
function open(): Promise<void> {
  return commands.execute('jupyter-agent:answer') as Promise<void>;
}

async function approve(): Promise<void> {
  reveal();
  await until(() => !button('Approve').disabled);
  button('Approve').click();
}

beforeEach(async () => {
  peer = await Peer.start();
  [approvals, blobs, journals, inputs, posted] = [new Map(), new Map(), new Map(), [], []];
  verdict = [200, {}];
  peer.onCommand = (socket, command) => {
    welcome(socket, command);
    if (command.type === 'follow' && command.runId !== '*') {
      const { runId } = command;
      socket.say(...(journals.get(runId) ?? []));
      socket.say({ type: 'replay_complete', runId, status: 'running', lastEventId: null });
    }
  };
  peer.onRequest = (path, _query, sent) => {
    const place = path.replace('/jupyter-agent/api/', '');
    const last = place.split('/').pop() ?? '';
    if (sent !== undefined) {
      posted.push([place, sent]);
      return verdict;
    }
    const found = place.startsWith('approvals/') ? approvals.get(last) : blobs.get(last);
    return [200, found ?? { items: place.endsWith('/inputs') ? inputs : [] }];
  };
  await activate();
});

afterEach(async () => {
  await closeDialogs();
  Notification.dismiss();
  connection.dispose();
  await peer.stop();
});

describe('a notice', () => {
  it('comes once for everything that starts to wait, and goes when it is resolved elsewhere', async () => {
    wait(approval('apr_1'));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 1);
    expect(notices()).toEqual(['run_cell wants to execute code: the agent waits for your approval.']);
    wait(approval('apr_2'));
    await until(() => notices().length === 2);
    tell('run_a', 'waiting_confirmation');
    resolve('apr_1', 'reject');
    await until(() => notices().length === 1);
    tell('run_a', 'completed');
    await until(() => notices().length === 0);
  });

  it('does not come for what was decided before the page was opened', async () => {
    wait(approval('apr_1'));
    resolve('apr_1', 'approve');
    ask({ requestId: 'inp_1', runId: 'run_a', prompt: 'Which sheet?' });
    tell('run_a', 'waiting_input');
    await until(() => notices().length > 0);
    expect(notices()).toEqual(['The agent asks you a question and waits for the answer.']);
  });

  it('leads to what it tells of', async () => {
    wait(approval('apr_1'));
    wait(approval('apr_2', { toolName: 'create_file', effects: ['write'] }));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 2);
    const second = Notification.manager.notifications.find(({ message }) => message.startsWith('create_file'));
    second?.options.actions?.[0]?.callback(new MouseEvent('click'));
    await until(() => dialog() !== null);
    await until(() => text('.jp-Dialog-header').includes('create_file wants to write'));
    expect(notices()).toHaveLength(1);
  });
});

describe('an approval', () => {
  beforeEach(async () => {
    wait(approval('apr_1'));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 1);
  });

  it('can be given half a second after all of it was in view, and not before', async () => {
    const done = open();
    await until(() => dialog() !== null);
    expect(text('.jp-agent-Picture')).toContain('1 + 1');
    await pause(ARMED);
    expect(button('Approve').disabled).toBe(true);
    reveal();
    type('Typing enables nothing.');
    expect(button('Approve').disabled).toBe(true);
    button('Approve')
      .querySelector('div')
      ?.dispatchEvent(new MouseEvent('click', { bubbles: true }));
    expect(dialog()).not.toBeNull();
    await until(() => !button('Approve').disabled);
    button('Approve').click();
    await done;
    expect(posted).toEqual([['approvals/apr_1', { approved: true }]]);
  });

  it('is never given by Enter, and nothing has the focus that gives it', async () => {
    void open();
    await until(() => dialog() !== null);
    expect(document.activeElement?.className).toBe('jp-agent-Answer-picture');
    reveal();
    await until(() => !button('Approve').disabled);
    for (const place of [button('Approve'), field(), document.querySelector('.jp-agent-Answer-picture')]) {
      (place as HTMLElement).focus();
      place?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
      expect(dialog()).not.toBeNull();
    }
    expect(posted).toEqual([]);
  });

  it('is rejected with a reason', async () => {
    const done = open();
    await until(() => dialog() !== null);
    type(' Not here. ');
    button('Reject').click();
    await done;
    expect(posted).toEqual([['approvals/apr_1', { approved: false, reason: 'Not here.' }]]);
  });

  it('may wait: the next one is put, and closing ends it', async () => {
    wait(approval('apr_2'));
    wait(approval('apr_3'));
    await until(() => notices().length === 3);
    const done = open();
    await until(() => dialog() !== null);
    const first = dialog();
    button('Later').click();
    await until(() => dialog() !== null && dialog() !== first);
    dialog()?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
    await done;
    expect(posted).toEqual([]);
  });

  it('that somebody else decided cannot be given any more: the dialog says so and closes', async () => {
    const done = open();
    await until(() => dialog() !== null);
    reveal();
    await until(() => !button('Approve').disabled);
    resolve('apr_1', 'reject');
    await until(() => text('.jp-agent-Answer-hint') === 'It was rejected elsewhere meanwhile.');
    expect(button('Approve').disabled && button('Reject').disabled).toBe(true);
    await done;
    expect(dialog()).toBeNull();
    expect(posted).toEqual([]);
  });

  it('that the server refuses says why in its words', async () => {
    verdict = [409, { code: 'already_resolved', message: 'The approval apr_1 was decided before: reject by owner.' }];
    void open();
    await until(() => dialog() !== null);
    await approve();
    await until(() => text('.jp-Dialog-body').includes('was decided before: reject by owner.'));
  });

  it('that the server has decided already is not put', async () => {
    approvals.set('apr_1', approval('apr_1', { decision: 'expired' }));
    void open();
    await until(() => text('.jp-Dialog-body').includes('Nobody decided in time'));
    expect(dialog()).toBeNull();
  });

  it('shows the words of a model as text, and what cannot be seen', async () => {
    const code = 'print("\u202e")<img src=x onerror="window.pwned = 1"><button class="jp-mod-accept">Approve</button>';
    const preview = { code, invisible: { 'U+202E RIGHT-TO-LEFT OVERRIDE': 1 }, warning: 'It <b>may</b> have run.' };
    approvals.set('apr_1', approval('apr_1', { preview }));
    void open();
    await until(() => dialog() !== null);
    expect(document.querySelectorAll('.jp-agent-Picture :is(img, button, b)')).toHaveLength(0);
    expect(text('.jp-agent-Picture')).toContain(code.replace('\u202e', '⟨U+202E⟩'));
    expect(text('.jp-agent-Picture')).toContain('U+202E RIGHT-TO-LEFT OVERRIDE × 1');
    expect(text('.jp-agent-Picture')).toContain('It <b>may</b> have run.');
  });

  it('of a tool without a picture shows every argument', async () => {
    const preview = { tool: 'send', arguments: { to: 'a@b.example', body: { lines: ['x'] } }, hash: 'h' };
    approvals.set('apr_1', approval('apr_1', { preview }));
    void open();
    await until(() => dialog() !== null);
    expect(text('.jp-agent-Picture')).toContain('a@b.example');
    expect(text('.jp-agent-Picture')).toContain('"lines"');
  });

  it('whose picture is kept beside it shows all of it, or is not put', async () => {
    const preview = { tool: 'run_cell', hash: 'h', blob: 'b10b', shortened: '{"code": "1' };
    approvals.set('apr_1', approval('apr_1', { preview }));
    blobs.set('b10b', { tool: 'run_cell', hash: 'other', code: 'all of it' });
    const done = open();
    await until(() => text('.jp-Dialog-body').includes('cannot be approved'));
    await closeDialogs();
    await done;
    blobs.set('b10b', { tool: 'run_cell', hash: 'h', code: 'all of it' });
    void open();
    await until(() => text('.jp-agent-Picture').includes('all of it'));
  });
});

describe('a question', () => {
  const question = { requestId: 'inp_1', runId: 'run_a', prompt: 'Which <i>sheet</i>?', schema: { type: 'string' } };

  beforeEach(async () => {
    ask(question);
    tell('run_a', 'waiting_input');
    await until(() => notices().length === 1);
  });

  it('is answered in words', async () => {
    const done = open();
    await until(() => dialog() !== null);
    expect(text('.jp-agent-Answer-prompt')).toBe('Which <i>sheet</i>?');
    expect(text('.jp-agent-Answer-schema')).toContain('"type": "string"');
    expect(document.activeElement).toBe(field());
    expect(button('Answer').disabled).toBe(true);
    type('The first.\nOr the second.');
    button('Answer').click();
    await done;
    expect(posted).toEqual([['runs/run_a/inputs/inp_1', { content: 'The first.\nOr the second.' }]]);
  });

  it('that is open no more is not put', async () => {
    inputs = [];
    void open();
    await until(() => text('.jp-Dialog-body').includes('answered elsewhere meanwhile'));
  });
});

it('says so when nothing waits', async () => {
  void open();
  await until(() => text('.jp-Dialog-body') === 'Nothing waits for you.');
});

it('says so when the gateway cannot be reached', async () => {
  connection.dispose();
  void open();
  await until(() => text('.jp-Dialog-body').includes('cannot be reached'));
});

it('makes visible what hides, and nothing else', () => {
  expect(visible('a\u200bb\u00a0\r\u{e0101}')).toBe('a⟨U+200B⟩b⟨U+00A0⟩⟨U+000D⟩⟨U+E0101⟩');
  expect(visible('naïve 中\n\tplot 📈 ⟨U+200B⟩')).toBe('naïve 中\n\tplot 📈 ⟨U+200B⟩');
});
