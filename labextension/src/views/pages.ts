/**
 * Rows that are asked for when they are about to be seen.
 *
 * Rules:
 * - Two questions are on their way at most, and what is asked next is what is looked at then: whoever scrolls far does not
 *   wait for what was passed.
 * - What is not current any more is shown until its successor is there.
 */

const BLOCK = 100;

/** Blocks that are kept: 5,000 rows. */
const MOST_BLOCKS = 50;
const MOST_ASKED = 2;
const RETRY_MS = 2_000;

export interface IPage<T> {
  readonly version: number;
  readonly rows: ReadonlyArray<T>;
}

export class Pages<T> {
  /** `changed` is called when rows have come, or could not. */
  constructor(
    private readonly _ask: (start: number, stop: number) => Promise<IPage<T>>,
    private readonly _changed: () => void
  ) {}

  /** Why rows that are looked at have not come; null where they have. */
  get fault(): string | null {
    return this._fault;
  }

  get(at: number): T | undefined {
    return this._blocks.get(Math.floor(at / BLOCK))?.rows[at % BLOCK];
  }

  /** From now on rows are those of this version, which has so many; `isOther` drops what is there. */
  renew(version: number, count: number, isOther: boolean): void {
    this._version = version;
    this._count = count;
    if (isOther) {
      this._blocks.clear();
    }
    this._fault = null;
  }

  /** These rows are looked at. */
  need(from: number, to: number): void {
    this._from = from;
    this._to = Math.min(to, this._count);
    this._next();
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._retry);
    this._blocks.clear();
  }

  private _next(): void {
    for (let block = Math.floor(this._from / BLOCK); block * BLOCK < this._to; block += 1) {
      if (this._isDisposed || this._asked.size >= MOST_ASKED || this._fault !== null) {
        return;
      }
      if (this._blocks.get(block)?.version !== this._version && !this._asked.has(block)) {
        void this._fetch(block);
      }
    }
  }

  private async _fetch(block: number): Promise<void> {
    const version = this._version;
    this._asked.add(block);
    try {
      const page = await this._ask(block * BLOCK, Math.min(this._count, (block + 1) * BLOCK));
      if (page.version === this._version) {
        this._keep(block, page);
      }
    } catch (fault) {
      if (version === this._version) {
        this._fault = fault instanceof Error ? fault.message : String(fault);
        clearTimeout(this._retry);
        this._retry = setTimeout(() => this._again(), RETRY_MS);
      }
    } finally {
      this._asked.delete(block);
    }
    if (!this._isDisposed) {
      this._changed();
      this._next();
    }
  }

  private _again(): void {
    this._fault = null;
    this._next();
  }

  private _keep(block: number, page: IPage<T>): void {
    this._blocks.delete(block);
    this._blocks.set(block, page);
    for (const oldest of this._blocks.keys()) {
      if (this._blocks.size <= MOST_BLOCKS) {
        return;
      }
      this._blocks.delete(oldest);
    }
  }

  private readonly _blocks = new Map<number, IPage<T>>();
  private readonly _asked = new Set<number>();
  private _version = -1;
  private _count = 0;
  private _from = 0;
  private _to = 0;
  private _fault: string | null = null;
  private _retry: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
}
