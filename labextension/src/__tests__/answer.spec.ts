/**
 * Answering as a page has it: the plugins, JupyterLab's own dialogs and notifications, over real sockets and requests.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { Notification } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import type { Approval, InputNeeded } from '../protocol';
import { IActivity, IConnection } from '../tokens';
import { Person } from './deciding';
import { activateAll, transcriptOf } from './page';
import { closeDialogs, event, Peer, pause, until, welcome } from './peer';

const AT = '2026-01-01T00:00:00Z';
const ARMED = 600;

let peer: Peer;
let commands: CommandRegistry;
let connection: IConnection;
let blobs: Map<string, unknown>;
/** What the page has sent to decide, without what names the command. */
let decided: object[];
/** What is answered to each decision. */
let verdict: object;
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
  const { approvalId, runId, toolCallId, toolName: name, effects, expiresAt, preview } = one;
  const fields = { type: 'tool_confirmation_request', approvalId, toolCallId, effects, expiresAt, preview };
  append(runId, { ...fields, tool: { identifier: name, apiName: name, name, arguments: '' } });
}

function ask(one: InputNeeded): void {
  append(one.runId, { type: 'input_request', ...one });
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
  commands = new CommandRegistry();
  const service = activateAll(peer, commands, new Map([[ITranslator, nullTranslator]]));
  connection = service(IConnection);
  const activity = service(IActivity);
  await until(() => activity.isCurrent);
}

const notices = (): string[] => Notification.manager.notifications.map(({ message }) => message);
const dialog = (): HTMLElement | null => document.querySelector('.jp-agent-Answer');
const text = (selector: string): string => document.querySelector(selector)?.textContent ?? '';
const person = (): Person => new Person(dialog() as HTMLElement);
const field = (): HTMLTextAreaElement => document.querySelector('textarea:not([hidden])') as HTMLTextAreaElement;

/** Runs the command; the promise is of its end. */
function open(): Promise<void> {
  return commands.execute('jupyter-agent:answer') as Promise<void>;
}

async function approve(): Promise<void> {
  await until(() => person().end !== null);
  person().read();
  await until(() => person().may('Approve'));
  person().press('Approve');
}

beforeEach(async () => {
  peer = await Peer.start();
  [blobs, journals, decided] = [new Map(), new Map(), []];
  verdict = { type: 'ack' };
  peer.onCommand = (socket, command) => {
    welcome(socket, command);
    if (command.type === 'follow' && command.runId !== '*') {
      const { runId, lastEventId } = command;
      socket.say(...(journals.get(runId) ?? []).slice(Number(lastEventId?.split('-')[2] ?? 0)));
      socket.say({ type: 'replay_complete', runId, status: 'running', lastEventId: null });
    }
    if (command.type === 'tool_confirmation' || command.type === 'user_input') {
      const { clientId, ...decision } = command;
      decided.push(decision);
      socket.say({ ...verdict, clientId });
    }
  };
  peer.onRequest = path => {
    const place = path.replace('/jupyter-agent/api/', '');
    const [, runId = ''] = /^runs\/(.*)\/transcript$/.exec(place) ?? [];
    if (runId) {
      return [200, transcriptOf(runId, journals.get(runId) ?? [])];
    }
    return [200, blobs.get(place.replace('blobs/', '')) ?? { items: [] }];
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

  it('says of a gate that a workflow asks', async () => {
    wait(approval('apr_1', { toolName: 'gate', effects: [] }));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 1);
    expect(notices()).toEqual(['A workflow asks for your decision, and waits for it.']);
  });

  it('leads to what it tells of', async () => {
    wait(approval('apr_1'));
    wait(approval('apr_2', { toolName: 'create_file', effects: ['write'] }));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 2);
    const second = Notification.manager.notifications.find(({ message }) => message.startsWith('create_file'));
    second?.options.actions?.[0]?.callback(new MouseEvent('click'));
    await until(() => dialog() !== null);
    await until(() => text('.jp-agent-Decision-title') === 'create_file wants to write');
    expect(notices()).toHaveLength(1);
  });
});

describe('an approval', () => {
  const sent = { type: 'tool_confirmation', runId: 'run_a', toolCallId: 'call_apr_1', approvalId: 'apr_1' };

  beforeEach(async () => {
    wait(approval('apr_1'));
    tell('run_a', 'waiting_confirmation');
    await until(() => notices().length === 1);
  });

  it('can be given half a second after all of it was in view, and not before', async () => {
    const done = open();
    await until(() => dialog() !== null);
    expect(text('.jp-agent-Picture')).toContain('1 + 1');
    expect(text('.jp-agent-Answer-about')).toBe('Run run_a');
    await pause(ARMED);
    expect(person().may('Approve')).toBe(false);
    await approve();
    await done;
    expect(decided).toEqual([{ ...sent, approved: true }]);
  });

  it('is never given by Enter, and nothing has the focus that gives it', async () => {
    void open();
    await until(() => dialog() !== null);
    expect(document.activeElement?.className).toBe('jp-agent-Decision-picture');
    person().read();
    await until(() => person().may('Approve'));
    for (const place of [
      person().button('Approve'),
      document.querySelector<HTMLElement>('.jp-agent-Decision-picture')
    ]) {
      place?.focus();
      person().key(place, 'Enter');
      expect(dialog()).not.toBeNull();
    }
    expect(decided).toEqual([]);
  });

  it('is rejected with a reason, which Escape leaves without closing the dialog', async () => {
    const done = open();
    await until(() => dialog() !== null);
    person().press('Reject');
    person().key(field(), 'Escape');
    expect(dialog()).not.toBeNull();
    person().press('Reject');
    person().write(field(), ' Not here. ');
    person().key(field(), 'Enter');
    await done;
    expect(decided).toEqual([{ ...sent, approved: false, reason: 'Not here.' }]);
  });

  it('may wait: the next one is put, and closing ends it', async () => {
    wait(approval('apr_2'));
    wait(approval('apr_3'));
    await until(() => notices().length === 3);
    const done = open();
    await until(() => dialog() !== null);
    const first = dialog();
    person().press('Later');
    await until(() => dialog() !== null && dialog() !== first);
    person().key(dialog(), 'Escape');
    await done;
    expect(decided).toEqual([]);
  });

  it('that somebody else decided cannot be given any more: the dialog says so and closes', async () => {
    const done = open();
    await until(() => dialog() !== null);
    person().read();
    await until(() => person().may('Approve'));
    resolve('apr_1', 'reject');
    await until(() => person().status === 'It was rejected elsewhere meanwhile.');
    expect(person().may('Approve') || person().may('Reject')).toBe(false);
    await done;
    expect(dialog()).toBeNull();
    expect(decided).toEqual([]);
  });

  it('that the server refuses says why in its words, and can be given again', async () => {
    verdict = { type: 'failed', code: 'forbidden', message: 'Kernels may not approve tool calls.' };
    const done = open();
    await until(() => dialog() !== null);
    await approve();
    await until(() => person().status.includes('Kernels may not approve tool calls.'));
    verdict = { type: 'ack' };
    person().press('Approve');
    await done;
    expect(decided).toHaveLength(2);
  });

  it('whose picture is kept beside it shows all of it', async () => {
    const blob = 'b'.repeat(64);
    const preview = { tool: 'run_cell', hash: 'h', blob, shortened: '{"code": "1' };
    wait(approval('apr_2', { preview }));
    await until(() => notices().length === 2);
    blobs.set(blob, { tool: 'run_cell', hash: 'h', code: 'all of it' });
    void commands.execute('jupyter-agent:answer', { id: 'apr_2' });
    await until(() => text('.jp-agent-Picture').includes('all of it'));
  });
});

describe('a question', () => {
  it('is answered in words', async () => {
    ask({ requestId: 'inp_1', runId: 'run_a', prompt: 'Which <i>sheet</i>?' });
    tell('run_a', 'waiting_input');
    await until(() => notices().length === 1);
    const done = open();
    await until(() => dialog() !== null);
    expect(text('.jp-agent-Decision-prompt')).toBe('Which <i>sheet</i>?');
    expect(document.activeElement).toBe(field());
    expect(person().may('Answer')).toBe(false);
    person().write(field(), 'The first.\nOr the second.');
    person().key(field(), 'Enter');
    await done;
    expect(decided).toEqual([
      { type: 'user_input', runId: 'run_a', requestId: 'inp_1', content: 'The first.\nOr the second.' }
    ]);
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
