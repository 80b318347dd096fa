/** The kernel's end of a widget's comm, for tests: what it says is said by hand, what it is asked is kept. */

import type { CompactRun } from '../protocol';
import type { IWidgetModel } from '../widget/link';

type Callback = (...values: unknown[]) => void;

export class KernelPeer implements IWidgetModel {
  constructor(private readonly _state: Readonly<Record<string, unknown>> = {}) {}

  /** Everything that the page asked, in order. */
  readonly asked: Record<string, unknown>[] = [];

  /** What is done when the page asks something. */
  onAsked: (asked: Record<string, unknown>) => void = () => undefined;

  get listeners(): number {
    return [...this._callbacks.values()].reduce((sum, callbacks) => sum + callbacks.size, 0);
  }

  get(name: string): unknown {
    return this._state[name];
  }

  send(content: unknown): void {
    this.asked.push(content as Record<string, unknown>);
    this.onAsked(content as Record<string, unknown>);
  }

  on(name: string, callback: Callback): void {
    this._callbacks.set(name, (this._callbacks.get(name) ?? new Set()).add(callback));
  }

  off(name: string, callback: Callback): void {
    this._callbacks.get(name)?.delete(callback);
  }

  /** Says a numbered message. */
  say(type: string, fields: object = {}): void {
    this._number += 1;
    this.emit('msg:custom', { type, n: this._number, link: 'connected', fault: null, ...fields }, []);
  }

  run(run: CompactRun, fields: object = {}): void {
    this.say('run', { text: JSON.stringify(run), mayDecide: false, ...fields });
  }

  frames(...events: object[]): void {
    this.say('frames', { text: events.map(event => JSON.stringify(event)).join('\n') });
  }

  /** Says something that does not arrive. */
  lose(): void {
    this._number += 1;
  }

  answer(clientId: unknown, fields: object, ...buffers: DataView[]): void {
    this.emit('msg:custom', { type: 'answer', clientId, ...fields }, buffers);
  }

  emit(name: string, ...values: unknown[]): void {
    [...(this._callbacks.get(name) ?? [])].forEach(callback => callback(...values));
  }

  private readonly _callbacks = new Map<string, Set<Callback>>();
  private _number = 0;
}
