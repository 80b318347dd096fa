/** The wire as a browser client knows it: six types of events and six commands. Whatever else comes is ignored. */

export type RunStatus = 'running' | 'waiting_confirmation' | 'waiting_input' | 'completed' | 'error' | 'interrupted';

/** What streams while the agent works. */
export type StreamEvent =
  | { kind: 'text_delta'; content: string }
  | { kind: 'thinking'; content: string }
  | { kind: 'tool_call_start'; toolCallId: string; name: string; arguments: string }
  | { kind: 'tool_call_delta'; toolCallId: string; arguments: string }
  | { kind: 'tool_call_end'; toolCallId: string }
  | { kind: 'tool_result'; toolCallId: string; result: string }
  | { kind: 'message_complete'; messageId: string }
  | { kind: 'step_complete'; stepIndex: number };

export interface ToolInfo {
  identifier: string;
  apiName: string;
  name: string;
  /** JSON text. */
  arguments: string;
}

export interface AgentEventFrame {
  type: 'agent_event';
  id: string;
  event: StreamEvent;
}

export interface StatusChangeFrame {
  type: 'status_change';
  id: string;
  status: RunStatus;
}

export interface ToolConfirmationFrame {
  type: 'tool_confirmation_request';
  id: string;
  toolCallId: string;
  tool: ToolInfo;
}

export interface InputRequestFrame {
  type: 'input_request';
  id: string;
  requestId: string;
  prompt: string;
}

export interface SessionCompleteFrame {
  type: 'session_complete';
  id: string;
  summary?: string;
}

export interface ErrorFrame {
  type: 'error';
  id: string;
  code: string;
  message: string;
}

export type EventFrame =
  AgentEventFrame | StatusChangeFrame | ToolConfirmationFrame | InputRequestFrame | SessionCompleteFrame | ErrorFrame;

export type ControlFrame =
  { type: 'auth_success' } | { type: 'auth_failed'; reason: string } | { type: 'heartbeat_ack' };

export type ServerFrame = EventFrame | ControlFrame;

export type Command =
  | { type: 'auth'; token: string }
  | { type: 'heartbeat' }
  | { type: 'resume'; lastEventId: string }
  | { type: 'interrupt' }
  | { type: 'tool_confirmation'; toolCallId: string; approved: boolean }
  | { type: 'user_input'; requestId: string; content: string };

const EVENT_TYPES: ReadonlySet<string> = new Set([
  'agent_event',
  'status_change',
  'tool_confirmation_request',
  'input_request',
  'session_complete',
  'error'
]);

export function isEventFrame(frame: { type: string }): frame is EventFrame {
  return EVENT_TYPES.has(frame.type);
}

/** Reads one text frame; anything that is no JSON object with a type is none of ours. */
export function parseFrame(text: string): (Record<string, unknown> & { type: string }) | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return undefined;
  }
  const fields = value as Record<string, unknown>;
  return typeof fields['type'] === 'string' ? (fields as Record<string, unknown> & { type: string }) : undefined;
}
