/**
 * Where the thread of a run is continued: a prompt with attachments and a model, and the prompts that wait for their turn.
 *
 * A prompt that is sent is kept by the server at once, queued while the thread is busy. Taking one back into the editor
 * ends its queued run, unless it has begun; what could not be sent stays in the editor.
 */

import { UUID } from '@lumino/coreutils';

import { act } from '../actions';
import { element } from '../content/element';
import type { AnyFrame, Image, Run, Text } from '../protocol';
import { codeOf, words as sentence } from '../request';
import type { IConnection, IGateway, IWords } from '../tokens';
import { attach, type IAttachment } from './attachments';

export interface IComposerOptions {
  readonly words: IWords;
  readonly gateway: IGateway;
  readonly threadId: string;

  /** The run that is continued, and its model. */
  readonly runId: string;
  readonly model: string | null;

  /** A prompt was sent, or one that waited may have been started or taken back. */
  readonly changed: () => void;
}

interface IModel {
  readonly name: string;
  readonly ready?: boolean;
}

/** These models play what they are given with the run, and cannot go on from it. */
const PLAYED: ReadonlySet<string> = new Set(['scripted', 'replay']);

/** How often the queue is looked at while something waits, in milliseconds. */
const RELIST = 3_000;

export class Composer {
  constructor(private readonly _options: IComposerOptions) {
    this._build();
    _options.gateway.connection.received.connect(this._onFrame, this);
    void this._listModels();
    void this._listQueue();
  }

  readonly node = element('form', 'jp-agent-Composer');

  focus(): void {
    this._text.focus();
  }

  dispose(): void {
    this._isDisposed = true;
    clearTimeout(this._relist);
    this._options.gateway.connection.received.disconnect(this._onFrame, this);
    this.node.remove();
  }

  private _build(): void {
    const { words } = this._options;
    this._text.rows = 2;
    this._text.placeholder = words.__('Continue this thread… (Shift+Enter sends)');
    this._text.setAttribute('aria-label', words.__('Next prompt of this thread'));
    this._text.addEventListener('keydown', event => this._onKey(event));
    this._text.addEventListener('input', () => this._showReady());
    this._text.addEventListener('paste', event => this._onFiles(event, event.clipboardData));
    this.node.addEventListener('dragover', event => event.preventDefault());
    this.node.addEventListener('drop', event => this._onFiles(event, event.dataTransfer));
    this.node.addEventListener('submit', event => {
      event.preventDefault();
      void this._send();
    });
    this._files.type = 'file';
    this._files.multiple = true;
    this._files.hidden = true;
    this._files.addEventListener('change', () => void this._attach([...(this._files.files ?? [])]));
    const choose = element('button', 'jp-agent-Run-quiet', words.__('Attach…'));
    choose.type = 'button';
    choose.addEventListener('click', () => this._files.click());
    this._model.setAttribute('aria-label', words.__('Model'));
    this._sending.type = 'submit';
    this._sending.textContent = words.__('Send');
    this._said.setAttribute('role', 'status');
    const bar = element('div', 'jp-agent-Composer-bar');
    bar.append(choose, this._model, this._said, this._sending);
    this.node.append(this._queue, this._text, this._attached, this._files, bar);
    this._showReady();
  }

  private _onKey(event: KeyboardEvent): void {
    if (event.key === 'Enter' && (event.shiftKey || event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      void this._send();
    }
  }

  private _onFiles(event: Event, data: DataTransfer | null): void {
    const files = [...(data?.files ?? [])];
    if (files.length > 0) {
      event.preventDefault();
      void this._attach(files);
    }
  }

  private async _attach(files: ReadonlyArray<File>): Promise<void> {
    this._files.value = '';
    const { gateway, words } = this._options;
    for (const file of files) {
      try {
        this._attachments.push(await attach(file, gateway, words));
        this._say('');
      } catch (fault) {
        this._say(sentence(fault));
      }
    }
    this._showAttachments();
  }

  private async _send(): Promise<void> {
    const { gateway, threadId, runId, words } = this._options;
    const text = this._text.value.trim();
    if (this._isSending || (!text && this._attachments.length === 0)) {
      return;
    }
    const parts: Array<Text | Image> = [
      ...(text ? [{ type: 'text', text } as const] : []),
      ...this._attachments.map(({ part }) => part)
    ];
    const model = this._model.value;
    const action = {
      type: 'start_run',
      input: parts,
      threadId,
      multitask: 'enqueue',
      followUpToRunId: runId,
      ...(model ? { model } : {})
    } as const;
    // Where nobody knows whether it was sent, the same again is no second one.
    const said = JSON.stringify(action);
    const { clientId } = this._unsure?.said === said ? this._unsure : { clientId: UUID.uuid4() };
    this._unsure = null;
    this._setSending(true);
    try {
      await act({ ...action, clientId }, gateway);
      this._text.value = '';
      this._attachments = [];
      this._showAttachments();
      this._say('');
      void this._listQueue();
    } catch (fault) {
      this._unsure = codeOf(fault) === 'not_connected' ? { said, clientId } : null;
      this._say(words.__('It was not sent: %1', sentence(fault)));
    } finally {
      this._setSending(false);
    }
  }

  // --- what waits for its turn --------------------------------------------------------------------------------

  private _onFrame(_: IConnection, frame: AnyFrame): void {
    if (frame.type === 'run_changed' && frame.threadId === this._options.threadId) {
      clearTimeout(this._relist);
      this._relist = setTimeout(() => void this._listQueue(), 200);
    }
  }

  private async _listQueue(): Promise<void> {
    clearTimeout(this._relist);
    const { gateway, threadId } = this._options;
    try {
      const query = { threadId, status: 'pending', limit: 50 };
      const { items = [] }: { items?: ReadonlyArray<Run> } = await gateway.request('runs', { query });
      this._showQueue(items.filter(({ queued }) => queued).reverse());
      this._options.changed();
    } catch {
      // The list is a convenience: what waits is carried out all the same, and is listed at the next change.
    }
  }

  private _showQueue(runs: ReadonlyArray<Run>): void {
    if (this._isDisposed) {
      return;
    }
    const { words } = this._options;
    const rows = runs.map(run => {
      const row = element('div', 'jp-agent-Composer-queued');
      const edit = element('button', 'jp-agent-Run-quiet', words.__('Edit'));
      const remove = element('button', 'jp-agent-Run-quiet', words.__('Remove'));
      edit.type = remove.type = 'button';
      edit.addEventListener('click', () => void this._takeBack(run, row, true));
      remove.addEventListener('click', () => void this._takeBack(run, row, false));
      row.append(element('span', 'jp-agent-Composer-prompt', textOf(run).slice(0, 200)), edit, remove);
      return row;
    });
    const title = element('div', 'jp-agent-Call-title', words._n('%1 waits', '%1 wait', rows.length));
    this._queue.replaceChildren(...(rows.length > 0 ? [title, ...rows] : []));
    if (rows.length > 0) {
      // Not every page is told of all changes.
      this._relist = setTimeout(() => void this._listQueue(), RELIST);
    }
  }

  /** Ends a queued run, and puts its prompt into the editor if it is to be changed. */
  private async _takeBack(run: Run, row: HTMLElement, isToEdit: boolean): Promise<void> {
    const { gateway, words } = this._options;
    row.querySelectorAll('button').forEach(button => (button.disabled = true));
    try {
      await act({ type: 'interrupt', runId: run.runId, ifQueued: true }, gateway);
      row.remove();
      if (isToEdit) {
        this._text.value = [textOf(run), this._text.value].filter(Boolean).join('\n\n');
        const pictures = (run.input ?? []).filter(part => part.type === 'image');
        this._attachments.push(...pictures.map(part => ({ name: words.__('picture'), part })));
        this._showAttachments();
        this._text.focus();
      }
      this._say('');
    } catch (fault) {
      const hasBegun = codeOf(fault) === 'run_active' || codeOf(fault) === 'run_finished';
      this._say(
        hasBegun
          ? words.__('It was not taken back: it has begun meanwhile.')
          : words.__('It could not be taken back: %1', sentence(fault))
      );
    }
    void this._listQueue();
  }

  // --- what it looks like -------------------------------------------------------------------------------------

  private async _listModels(): Promise<void> {
    const { gateway, model } = this._options;
    try {
      const { items = [], default: usual }: { items?: ReadonlyArray<IModel>; default?: string } =
        await gateway.request('models');
      const usable = items.filter(({ name, ready }) => ready !== false && !PLAYED.has(name)).map(({ name }) => name);
      this._model.replaceChildren(...usable.map(name => new Option(name, name)));
      this._model.value = model && usable.includes(model) ? model : (usual ?? '');
    } catch {
      this._model.replaceChildren(); // without a list the server's default is used
    }
    this._model.hidden = this._model.options.length === 0;
  }

  private _showAttachments(): void {
    const { words } = this._options;
    this._attached.replaceChildren(
      ...this._attachments.map(attachment => {
        const chip = element('button', 'jp-agent-Composer-chip', `${attachment.name} ×`);
        chip.type = 'button';
        chip.title = words.__('Take %1 out', attachment.name);
        chip.addEventListener('click', () => {
          this._attachments = this._attachments.filter(other => other !== attachment);
          this._showAttachments();
        });
        return chip;
      })
    );
    this._showReady();
  }

  private _setSending(isSending: boolean): void {
    this._isSending = isSending;
    this._text.readOnly = isSending;
    this._showReady();
  }

  private _showReady(): void {
    this._sending.disabled = this._isSending || (!this._text.value.trim() && this._attachments.length === 0);
  }

  private _say(text: string): void {
    this._said.textContent = text;
  }

  private readonly _queue = element('div', 'jp-agent-Composer-queue');
  private readonly _text = element('textarea', 'jp-agent-Composer-text');
  private readonly _attached = element('div', 'jp-agent-Composer-attached');
  private readonly _files = element('input', '');
  private readonly _model = element('select', 'jp-agent-Composer-model');
  private readonly _said = element('span', 'jp-agent-Composer-said');
  private readonly _sending = element('button', 'jp-agent-Composer-send');
  private _attachments: IAttachment[] = [];
  private _isSending = false;
  /** What was sent last, where no answer came. */
  private _unsure: { readonly said: string; readonly clientId: string } | null = null;
  private _isDisposed = false;
  private _relist: ReturnType<typeof setTimeout> | undefined;
}

function textOf(run: Run): string {
  return (run.input ?? []).flatMap(part => (part.type === 'text' ? [part.text] : [])).join('\n\n');
}
