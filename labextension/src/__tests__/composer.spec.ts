/**
 * The next prompt of a thread: it is sent, or it stays in the editor with the reason.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import type { PageGateway } from '../gateway';
import { Composer } from '../view/composer';
import { Person, words } from './deciding';
import { Journals } from './journals';
import { until } from './peer';

const QUEUED = {
  runId: 'run_b',
  threadId: 'thr_a',
  status: 'pending',
  queued: true,
  input: [{ type: 'text', text: 'Next.' }]
};

let server: Journals;
let gateway: PageGateway;
let composer: Composer;
let person: Person;
let queue: object[];
/** In place of an answer to what is posted. */
let refusal: readonly [number, object] | null;

const text = (): HTMLTextAreaElement => composer.node.querySelector('textarea') as HTMLTextAreaElement;
const said = (): string => person.text('.jp-agent-Composer-said');

beforeEach(async () => {
  [queue, refusal] = [[], null];
  server = await Journals.start();
  const { onRequest } = server.peer;
  server.peer.onRequest = (path, query, sent) => {
    if (sent === undefined) {
      return [200, { items: path.endsWith('/runs') ? queue : [] }];
    }
    const answer = onRequest(path, query, sent);
    return refusal ?? answer;
  };
  gateway = server.page();
});

afterEach(async () => {
  composer.dispose();
  gateway.connection.dispose();
  await server.peer.stop();
});

function show(): void {
  composer = new Composer({
    words,
    gateway,
    threadId: 'thr_a',
    runId: 'run_a',
    model: null,
    changed: () => undefined
  });
  document.body.append(composer.node);
  person = new Person(composer.node);
}

it('is sent by request where there is no connection', async () => {
  show();
  person.write(text(), 'What now?');
  person.press('Send');
  await until(() => text().value === '');
  expect(server.posted).toEqual([
    [
      'runs',
      {
        input: [{ type: 'text', text: 'What now?' }],
        threadId: 'thr_a',
        multitask: 'enqueue',
        followUpToRunId: 'run_a'
      }
    ]
  ]);
});

it('stays in the editor where it was refused', async () => {
  show();
  refusal = [404, { code: 'thread_not_found', message: 'There is no thread.' }];
  person.write(text(), 'What now?');
  person.press('Send');
  await until(() => said() === 'It was not sent: There is no thread.');
  expect([text().value, person.may('Send')]).toEqual(['What now?', true]);
});

it('that nobody answered is no second one when it is sent again, and another is', async () => {
  const keys: (string | null)[] = [];
  gateway.request = (_, init: RequestInit = {}) => {
    keys.push(...(init.method ? [new Headers(init.headers).get('Idempotency-Key')] : []));
    return Promise.reject(new TypeError('Failed to fetch'));
  };
  show();
  for (const prompt of ['What now?', 'What now?', 'Something else.']) {
    person.write(text(), prompt);
    person.press('Send');
    await until(() => person.may('Send'));
  }
  expect(said()).toContain('done or not');
  expect(keys[0]).toBe(keys[1]);
  expect(new Set(keys).size).toBe(2);
});

describe('a prompt that waits', () => {
  beforeEach(async () => {
    queue.push(QUEUED);
    show();
    await until(() => person.text('.jp-agent-Composer-prompt') === 'Next.');
  });

  it('is taken back into the editor, only if it still waits', async () => {
    person.press('Edit');
    await until(() => text().value === 'Next.');
    expect(server.posted).toEqual([['runs/run_b/interrupt', { ifQueued: true }]]);
  });

  it.each(['run_active', 'run_finished'])('and has begun goes on, and that is said: %s', async code => {
    refusal = [409, { code, message: 'Run run_b has begun.' }];
    person.press('Edit');
    await until(() => said() === 'It was not taken back: it has begun meanwhile.');
    expect(text().value).toBe('');
  });
});
