/**
 * What a widget and its kernel say to each other.
 *
 * Rules:
 * - Messages are numbered, so that a missing one is noticed. The kernel can be asked to tell everything anew.
 * - A kernel that goes on says something every ten seconds. One that does not computes too hard to speak, or is gone: then
 *   what it told may be behind.
 * - A busy kernel hears what is asked of it when it is free. Nobody waits for that without being told.
 */

import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { CommandFailed } from '../connection';

/** The part of an anywidget model that is used here. */
export interface IWidgetModel {
  get(name: string): unknown;
  send(content: unknown): void;
  on(name: string, callback: (...values: unknown[]) => void): void;
  off(name: string, callback: (...values: unknown[]) => void): void;
}

/** Times, in milliseconds. */
export interface ILinkTimes {
  /** After so much silence the kernel counts as lost. */
  readonly silence: number;
  /** How long an answer of the kernel is waited for. */
  readonly answer: number;
  /** Between two requests to tell everything. */
  readonly ask: number;
}

export const LINK_TIMES: ILinkTimes = { silence: 25_000, answer: 10_000, ask: 2_000 };

/** What the kernel says. `n` counts all messages but answers. */
export interface ISaid {
  readonly type: string;
  readonly n?: number;
  readonly isNext?: boolean;
  /** How the kernel's own connection to the gateway stands. */
  readonly link?: string;
  readonly fault?: string | null;
  readonly reason?: string | null;
  /** What it says, as JSON text, one or more lines of it. */
  readonly text?: string;
  readonly mayDecide?: boolean;
  /** Nothing will change any more. */
  readonly isFinal?: boolean;
  readonly clientId?: string;
  readonly result?: unknown;
  readonly code?: string;
  readonly message?: string;
}

/** An answer, and the bytes that came with it. */
export type Answer = readonly [result: unknown, buffers: ReadonlyArray<DataView>];

interface IWaiting {
  resolve(answer: Answer): void;
  reject(fault: CommandFailed): void;
}

export const GONE =
  'The kernel that fed this view is gone, so this is what it told last. Runs go on without it: ' +
  'ja.open("run_…") shows one in another kernel.';
export const SILENT = 'The kernel that feeds this view is silent: it computes too hard to speak, or it is gone.';
export const BUSY = 'The kernel has not answered yet: it is busy.';

export class KernelLink implements IDisposable {
  constructor(
    private readonly _model: IWidgetModel,
    times: Partial<ILinkTimes> = {}
  ) {
    this.times = { ...LINK_TIMES, ...times };
    _model.on('msg:custom', this._onMessage);
    _model.on('comm:close', this._onGone);
    _model.on('comm_live_update', this._onGone);
    this._listen();
  }

  readonly times: ILinkTimes;

  /** What is wrong with the kernel, as a sentence, or null. */
  get trouble(): string | null {
    return this._trouble;
  }

  /** The kernel will not say anything any more. */
  get isGone(): boolean {
    return this._isGone;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Every message but answers; `isNext` is false where one before it is missing. */
  get said(): ISignal<this, ISaid> {
    return this._said;
  }

  /** The trouble has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** There is nothing more to come, so silence means nothing. */
  expectNothing(): void {
    clearTimeout(this._silence);
    this._isExpecting = false;
  }

  /** Asks the kernel to tell everything anew. */
  askForAll(): void {
    const now = Date.now();
    if (!this._isGone && !this._isDisposed && now - this._askedAt >= this.times.ask) {
      this._askedAt = now;
      this._model.send({ ask: 'follow' });
    }
  }

  /** Asks the kernel for something. Rejects with `CommandFailed`, also where it does not answer in time. */
  async ask(content: object, clientId = UUID.uuid4()): Promise<Answer> {
    if (this._isGone || this._isDisposed) {
      throw new CommandFailed('kernel_gone', GONE);
    }
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this._waiting.delete(clientId);
      };
      const timer = setTimeout(() => {
        end();
        reject(new CommandFailed('kernel_busy', `${BUSY} It does this when it is free.`));
      }, this.times.answer);
      this._waiting.set(clientId, {
        resolve: answer => (end(), resolve(answer)),
        reject: fault => (end(), reject(fault))
      });
      this._model.send({ ...content, clientId });
    });
  }

  /** Tells the kernel that it need not say anything for now, and does not listen to what it says. */
  pause(): void {
    if (!this._isDisposed && !this._isPaused) {
      this._isPaused = true;
      this.expectNothing();
      if (!this._isGone) {
        this._model.send({ ask: 'unfollow' });
      }
    }
  }

  /** Listens again after a pause. */
  resume(): void {
    if (this._isPaused && !this._isDisposed) {
      this._isPaused = false;
      this._isExpecting = !this._isGone;
      this._askedAt = -Infinity;
      this._listen();
      this.askForAll();
    }
  }

  /** Tells the kernel that it need not say anything, and does not listen any more. */
  rest(): void {
    this.pause();
    this.dispose();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._model.off('msg:custom', this._onMessage);
    this._model.off('comm:close', this._onGone);
    this._model.off('comm_live_update', this._onGone);
    this.expectNothing();
    this._rejectAll();
    Signal.clearData(this);
  }

  private readonly _onMessage = (said: unknown, buffers: unknown): void => {
    if (typeof said !== 'object' || said === null) {
      return;
    }
    const message = said as ISaid;
    if (message.type === 'answer') {
      return this._answered(message, Array.isArray(buffers) ? (buffers as DataView[]) : []);
    }
    if (this._isPaused) {
      return;
    }
    if (message.type === 'rest') {
      return this._goOn(message);
    }
    this._isExpecting = true;
    this._listen();
    const isNext = message.n === this._number + 1;
    this._number = message.n ?? 0;
    this._enter(null);
    this._said.emit({ ...message, isNext });
  };

  /** Another page needs nothing more. This one does, unless all was told. */
  private _goOn({ n = 0 }: ISaid): void {
    this._number = n;
    if (this._isExpecting) {
      this._askedAt = -Infinity;
      this.askForAll();
    }
  }

  private _answered({ clientId = '', result, code, message }: ISaid, buffers: ReadonlyArray<DataView>): void {
    const waiting = this._waiting.get(clientId);
    if (code !== undefined) {
      waiting?.reject(new CommandFailed(code, message ?? ''));
    } else {
      waiting?.resolve([result, buffers]);
    }
  }

  /** Waits for the kernel's next word. */
  private _listen(): void {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => {
      if (this._isExpecting) {
        this._enter(SILENT);
        this.askForAll();
      }
    }, this.times.silence);
  }

  private readonly _onGone = (): void => {
    this._isGone = true;
    clearTimeout(this._silence);
    this._rejectAll();
    this._enter(GONE);
  };

  private _rejectAll(): void {
    [...this._waiting.values()].forEach(({ reject }) => reject(new CommandFailed('kernel_gone', GONE)));
  }

  private _enter(trouble: string | null): void {
    if (trouble !== this._trouble) {
      this._trouble = trouble;
      this._changed.emit();
    }
  }

  private readonly _waiting = new Map<string, IWaiting>();
  private readonly _said = new Signal<this, ISaid>(this);
  private readonly _changed = new Signal<this, void>(this);
  private _trouble: string | null = null;
  private _number = 0;
  private _askedAt = -Infinity;
  private _isExpecting = true;
  private _isGone = false;
  private _isPaused = false;
  private _isDisposed = false;
  private _silence: ReturnType<typeof setTimeout> | undefined;
}
