/** A person before a card: what they see, and what they do to it. */

import { nullTranslator } from '@jupyterlab/translation';

import type { Card } from '../decisions/card';
import type { Approval } from '../protocol';
import type { IGateway, IWords } from '../tokens';

export const words: IWords = nullTranslator.load('jupyter_agent');

/** A time that does not come while a test runs. */
const LATER = '2999-01-01T00:10:00Z';

export function approval(more: Partial<Approval> = {}): Approval {
  return {
    approvalId: 'apr_1',
    runId: 'run_a',
    toolCallId: 'call_1',
    toolName: 'run_cell',
    arguments: '{"code": "1 + 1"}',
    effects: ['exec'],
    preview: { tool: 'run_cell', arguments: { code: '1 + 1' }, code: '1 + 1', lines: 1, hash: 'h' },
    askedAt: '2999-01-01T00:00:00Z',
    expiresAt: LATER,
    ...more
  };
}

/** A gateway that has these blobs, and a clock that is so much ahead of ours. */
export function gateway(blobs: ReadonlyMap<string, string> = new Map(), mayDecide = true, ahead = 0): IGateway {
  return {
    mayDecide,
    get now() {
      return Date.now() + ahead;
    },
    blob: async (digest: string) => {
      const text = blobs.get(digest);
      if (text === undefined) {
        throw new Error(`There is no blob ${digest}.`);
      }
      return new Blob([text]);
    }
  } as unknown as IGateway;
}

/** A promise and what settles it. */
export class Pending {
  resolve: () => void = () => {};
  reject: (fault: Error) => void = () => {};
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

export class Person {
  constructor(private readonly _node: HTMLElement) {}

  /** Returns the button, whether it is hidden or not. */
  button(label: string): HTMLButtonElement {
    const found = [...this._node.querySelectorAll('button')].find(({ textContent }) => textContent === label);
    if (!found) {
      throw new Error(`There is no button ${label}.`);
    }
    return found;
  }

  /** Whether the button is there and can be pressed. */
  may(label: string): boolean {
    const button = this.button(label);
    return button.closest('[hidden]') === null && !button.disabled && button.getAttribute('aria-disabled') !== 'true';
  }

  press(label: string): void {
    this.button(label).click();
  }

  text(selector: string): string {
    return this._node.querySelector(selector)?.textContent ?? '';
  }

  get status(): string {
    return this.text('.jp-agent-Decision-status');
  }

  get marks(): ReadonlyArray<IMark> {
    return [...this._node.querySelectorAll<IMark>('.jp-agent-Picture-mark')];
  }

  get end(): IMark {
    return this._node.querySelector('.jp-agent-Decision-end') as IMark;
  }

  /** Reads everything to its end. */
  read(): void {
    this.marks.forEach(mark => mark.reveal());
    this.end.reveal();
  }

  /** Writes into a field as one types. */
  write(field: Element | null, text: string): void {
    (field as HTMLTextAreaElement).value = text;
    field?.dispatchEvent(new Event('input', { bubbles: true }));
  }

  key(target: Element | null, key: string, more: KeyboardEventInit = {}): boolean {
    return (
      target?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more })) ?? true
    );
  }
}

/** Something that a test brings into view. */
type IMark = HTMLElement & { reveal(isInView?: boolean): void };

/** Puts a card on the page, and a person before it. */
export function before(card: Card): Person {
  document.body.append(card.node);
  return new Person(card.node);
}
