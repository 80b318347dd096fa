/**
 * Looks something up by requests: one at a time, not more than once a second, and less and less often
 * while that does not help.
 */

import type { IGateway } from './tokens';

/** Times between requests, in milliseconds. */
export interface ILookupTimes {
  /** The shortest time between two; it doubles while they do not help. */
  readonly firstDelay: number;
  readonly longestDelay: number;
  /** For how long an answer is waited for. */
  readonly answer: number;
}

type Timer = ReturnType<typeof setTimeout>;

export class Lookup<T> {
  /** `found` takes every answer, and may throw; `failed` hears of that, and of every request without an answer. */
  constructor(
    private readonly _path: string,
    private readonly _gateway: IGateway,
    private readonly _times: ILookupTimes,
    private readonly _found: (answer: T) => void,
    private readonly _failed: (fault: unknown) => void
  ) {}

  /** Asks now. An answer that is still on its way comes too late. */
  async ask(): Promise<void> {
    this.stop();
    this._askedAt = Date.now();
    this._tries += 1;
    const turn = (this._turn = {});
    try {
      const answer = await within(this._gateway.request<T>(this._path), this._times.answer);
      if (this._turn === turn) {
        this._found(answer);
      }
    } catch (fault) {
      if (this._turn === turn) {
        this._failed(fault);
      }
    }
  }

  /** Asks as soon as the delay since the last time is over, by default the one that is due. */
  later(delay = this._times.firstDelay * 2 ** Math.max(0, this._tries - 1)): void {
    const due = this._askedAt + Math.min(delay, this._times.longestDelay);
    clearTimeout(this._timer);
    this._timer = setTimeout(() => void this.ask(), Math.max(0, due - Date.now()));
  }

  /** It helped to ask: the next time need not wait for long. */
  helped(): void {
    this._tries = 0;
  }

  /** Neither asks nor listens any more, until it is asked to. */
  stop(): void {
    clearTimeout(this._timer);
    this._turn = null;
  }

  private _timer: Timer | undefined;
  /** Which request is listened to. */
  private _turn: object | null = null;
  private _askedAt = 0;
  /** How often it was asked since it helped. */
  private _tries = 0;
}

/** Rejects when there is no answer in time. */
export async function within<T>(answer: Promise<T>, milliseconds: number): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Nothing came for ${milliseconds / 1000} s.`)), milliseconds);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
