/**
 * Keeps the nodes of a page in step with the parts of a text: what stays the same keeps its node, and with it the
 * reader's selection and place.
 *
 * Two parts of the same kind and source look the same, wherever they stand.
 */

/** A part of the page. */
export interface IPart {
  /** What must stay for the node to stay when the source changes. */
  readonly kind: string;

  /** With the kind it tells what the part looks like. */
  readonly source: string;

  /** Makes the node: all of it, or the shell of a part that consists of others. */
  make(): INode;

  /** What it consists of, if it consists of others. */
  parts?(): ReadonlyArray<IPart>;
}

/** What was made of a part. */
export interface INode {
  readonly node: HTMLElement;

  /** Where the parts of it go, if it is not the node itself. */
  readonly body?: HTMLElement;

  /** Shows another source of the same kind. A part that cannot do this, and has no parts, is made anew. */
  show?(part: IPart): void;
}

interface IShown {
  readonly kind: string;
  source: string;
  readonly made: INode;
  readonly inner: Flow | null;
}

export class Flow {
  constructor(private readonly _body: HTMLElement) {}

  /** Shows these parts. */
  update(parts: ReadonlyArray<IPart>): void {
    this._dropBefore(parts[0]);
    const shown = this._shown;
    parts.forEach((part, index) => {
      const old = shown[index];
      if (old && old.kind === part.kind) {
        if (old.source === part.source || this._change(old, part)) {
          return;
        }
      }
      const made = this._make(part);
      if (old) {
        old.made.node.replaceWith(made.made.node);
      } else {
        this._body.append(made.made.node);
      }
      shown[index] = made;
    });
    shown.splice(parts.length).forEach(({ made }) => made.node.remove());
  }

  /** Of a text that is shown from a later place on, the beginning goes and the rest stays. */
  private _dropBefore(first: IPart | undefined): void {
    const same = ({ kind, source }: IShown): boolean => kind === first?.kind && source === first.source;
    const from = this._shown.findIndex(same);
    if (from > 0) {
      this._shown.splice(0, from).forEach(({ made }) => made.node.remove());
    }
  }

  private _change(old: IShown, part: IPart): boolean {
    if (!old.inner && !old.made.show) {
      return false;
    }
    if (part.parts) {
      old.inner?.update(part.parts());
    }
    old.made.show?.(part);
    old.source = own(part.source);
    return true;
  }

  private _make(part: IPart): IShown {
    const made = part.make();
    const inner = part.parts ? new Flow(made.body ?? made.node) : null;
    inner?.update(part.parts?.() ?? []);
    made.show?.(part);
    return { kind: part.kind, source: own(part.source), made, inner };
  }

  private readonly _shown: IShown[] = [];
}

/** Returns a copy: a slice of a text would keep all of that text, and each later version of it, in memory. */
function own(slice: string): string {
  return slice.length > 12 ? ` ${slice}`.slice(1) : slice;
}
