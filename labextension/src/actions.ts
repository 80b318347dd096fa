/**
 * What is asked of the gateway: over the connection, or by the request that means the same where that does not come
 * through. It acts once, whichever way it goes, and never ends in silence.
 */

import { UUID } from '@lumino/coreutils';

import { CommandFailed } from './connection';
import { within } from './lookup';
import type { Interrupt, StartRun, ToolConfirmation, UserInput } from './protocol';
import { codeOf, words } from './request';
import type { IGateway } from './tokens';

/** A command that a request can take the place of. */
export type Action =
  | StartRun
  | (Interrupt & { readonly runId: string })
  | (ToolConfirmation & { readonly approvalId: string })
  | (UserInput & { readonly runId: string });

/** For how long the answer to a request is waited for, in milliseconds: a run may take half a minute to stop. */
const PATIENCE = 45_000;

/** What the connection says where it did not carry a command out. */
const NOT_CARRIED: ReadonlySet<string | null> = new Set(['not_connected', 'not_answered']);

/** Does it. Rejects with `CommandFailed` when the gateway refuses, and when nobody knows whether it was done. */
export async function act(action: Action, gateway: IGateway): Promise<void> {
  const named = { ...action, clientId: action.clientId ?? UUID.uuid4() };
  if (gateway.connection.state === 'open') {
    try {
      await gateway.connection.send(named);
      return;
    } catch (fault) {
      if (!NOT_CARRIED.has(codeOf(fault))) {
        throw fault;
      }
    }
  }
  await post(named, gateway);
}

async function post(action: Action & { readonly clientId: string }, gateway: IGateway): Promise<void> {
  const [path, body] = requestOf(action);
  const headers = { 'Idempotency-Key': action.clientId };
  try {
    await within(gateway.request(path, { method: 'POST', body: JSON.stringify(body), headers }), PATIENCE);
  } catch (fault) {
    const code = codeOf(fault);
    const unknown = 'The server did not answer, so this was done or not: look again.';
    throw code === null
      ? new CommandFailed('not_connected', `${unknown} (${words(fault)})`)
      : new CommandFailed(code, words(fault));
  }
}

/** Returns the path and the body of the request that does the same. */
function requestOf(action: Action): readonly [string, object] {
  switch (action.type) {
    case 'start_run': {
      const { type: _, clientId: __, follow: ___, ...body } = action;
      return ['runs', body];
    }
    case 'interrupt': {
      const { runId, ifQueued } = action;
      return [`runs/${runId}/interrupt`, ifQueued ? { ifQueued } : {}];
    }
    case 'tool_confirmation': {
      const { approvalId, approved, arguments: edited, reason, remember } = action;
      return [`approvals/${encodeURIComponent(approvalId)}`, { approved, arguments: edited, reason, remember }];
    }
    case 'user_input': {
      const { runId, requestId, content } = action;
      return [`runs/${runId}/inputs/${encodeURIComponent(requestId)}`, { content }];
    }
  }
}
