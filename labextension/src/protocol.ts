/**
 * Frames between the gateway and its clients, and the records of its REST bodies.
 *
 * Generated from the Python structs by `make generate`: do not edit.
 */

/** Where a run stands. The last three are terminal and never overwritten. */
export type RunStatus =
  | 'completed'
  | 'error'
  | 'interrupted'
  | 'pending'
  | 'running'
  | 'waiting_confirmation'
  | 'waiting_input';

export type ThreadStatus =
  | 'busy'
  | 'error'
  | 'idle'
  | 'waiting';

/** What happens to a new run on a thread that has an active one. */
export type Multitask =
  | 'enqueue'
  | 'interrupt'
  | 'reject'
  | 'rollback';

/** What a tool call can do to the world. */
export type Effect =
  | 'exec'
  | 'network'
  | 'read'
  | 'write';

export type Decision =
  | 'approve'
  | 'edit'
  | 'expired'
  | 'reject';

/** Where a question to a person stands. It lapses when its run ends before anybody answered. */
export type AskStatus =
  | 'lapsed'
  | 'pending'
  | 'resolved';

/** How the execution of a tool call ended. */
export type Outcome =
  | 'error'
  | 'interrupted'
  | 'rejected'
  | 'success'
  | 'timed_out'
  | 'unknown';

/** Text. Where it is too long for an event, `blob` holds the whole and `text` only its beginning. */
export interface Text {
  readonly type: 'text';
  readonly text: string;
  readonly blob?: string | null;
}

/** A picture kept as a blob; `mime` is what its bytes were sniffed to be. */
export interface Image {
  readonly type: 'image';
  readonly blob: string;
  readonly mime: string;
}

/**
 * Tokens and money of one or more model calls.
 *
 * `input_tokens` counts all of the prompt, cached or not; `cache_read_tokens` and `cache_write_tokens` are parts
 * of it, `reasoning_tokens` is a part of `output_tokens`. `unmeasured_requests` counts calls whose provider
 * reported nothing: their tokens are unknown, not zero. `cost` is US dollars, None where a price is unknown.
 */
export interface Usage {
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  readonly cacheReadTokens?: number;
  readonly cacheWriteTokens?: number;
  readonly reasoningTokens?: number;
  readonly requests?: number;
  readonly unmeasuredRequests?: number;
  readonly cost?: number | null;
}

/** Limits of one run and its children, or what is left of them. None means no limit. */
export interface Budget {
  readonly turns?: number | null;
  readonly toolCalls?: number | null;
  readonly seconds?: number | null;
  readonly tokens?: number | null;
  readonly cost?: number | null;
}

/**
 * What a model is told of a tool, and what the policy knows of it.
 *
 * `parameters` is a JSON Schema object. `timeout_s` bounds one execution; `output_cap` is in characters, more
 * goes to a blob. `client` marks a tool that lives in the client and is called over its socket.
 */
export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly effects?: ReadonlyArray<Effect>;
  readonly idempotent?: boolean;
  readonly sequential?: boolean;
  readonly timeoutS?: number;
  readonly outputCap?: number;
  readonly client?: boolean;
}

/** The notebook cell a run was started from. */
export interface Cell {
  readonly cellId?: string | null;
  readonly executionCount?: number | null;
  readonly notebook?: string | null;
}

/**
 * What starts a run, over REST and the socket alike. Only `input` is needed.
 *
 * `client_tools` are tools that live in the starting client; `kernel_id` is the kernel that `run_cell` uses, and
 * `waits` says that a cell of that kernel is waiting for this run. `instructions` are told the model after the
 * server's own. `kwargs` are settings of the model (`temperature`, `thinking` …) and `context_max`, the tokens
 * of its window to use; `script` is what the `scripted` model plays. `on_ask` "reject" is for headless runs.
 */
export interface RunRequest {
  readonly input: string | ReadonlyArray<Text | Image>;
  readonly model?: string | null;
  readonly threadId?: string | null;
  readonly agent?: string | null;
  readonly tools?: ReadonlyArray<string> | null;
  readonly clientTools?: ReadonlyArray<ToolSpec>;
  readonly budget?: Budget | null;
  readonly policy?: string | null;
  readonly instructions?: string | null;
  readonly onAsk?: 'reject' | 'wait';
  readonly multitask?: Multitask;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly followUpToRunId?: string | null;
  readonly script?: unknown;
  readonly kernelId?: string | null;
  readonly waits?: boolean;
  readonly cell?: Cell | null;
}

/**
 * Where a forked run begins: before this turn of that run.
 *
 * `past` is the blob of a `Past`, `images` are the pictures in it. `played` counts the answers of a model that
 * stand in it and that the model is to have given, for those that play turn after turn (scripted, replay).
 */
export interface Fork {
  readonly runId: string;
  readonly turn: number;
  readonly past: string;
  readonly images?: ReadonlyArray<string>;
  readonly played?: number;
}

export interface Thread {
  readonly threadId: string;
  readonly userId: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly title?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly status?: ThreadStatus;
}

/**
 * One execution of an agent, as a row: what lists and pages show. The journal is its truth.
 *
 * `usage` is that of its own turns alone; `helper_tokens` and `helper_cost` are of model calls that are no
 * turns, as compaction makes them. Subagents are runs of their own: `RunTotals` adds them up. `past_blob` is
 * what a forked run begins with.
 */
export interface Run {
  readonly runId: string;
  readonly threadId: string;
  readonly userId: string;
  readonly status: RunStatus;
  readonly agent: string;
  readonly model: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly startedAt?: string | null;
  readonly endedAt?: string | null;
  readonly queued?: boolean;
  readonly multitask?: Multitask;
  readonly input?: ReadonlyArray<Text | Image>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly cell?: Cell | null;
  readonly parentRunId?: string | null;
  readonly followUpToRunId?: string | null;
  readonly compareGroupId?: string | null;
  readonly usage?: Usage;
  readonly modelCallCount?: number;
  readonly toolCallCount?: number;
  readonly messageCount?: number;
  readonly firstHumanMessage?: string | null;
  readonly lastAiMessage?: string | null;
  readonly errorCode?: string | null;
  readonly errorMessage?: string | null;
  readonly detailBlob?: string | null;
  readonly rolledBack?: boolean;
  readonly helperTokens?: number;
  readonly helperCost?: number | null;
  readonly forkedFromRunId?: string | null;
  readonly forkedFromTurn?: number | null;
  readonly pastBlob?: string | null;
}

/**
 * One model call, as a row; `turn` counts from 0 within its run. `blob` holds a `TurnRecord`.
 *
 * `cache_life_s` is how long the provider keeps a prompt that is not sent again, None where that is not known.
 */
export interface Turn {
  readonly runId: string;
  readonly turn: number;
  readonly blob: string;
  readonly model: string;
  readonly stopReason: string;
  readonly usage: Usage;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly cacheLifeS?: number | null;
}

/**
 * A tool call that waits, or waited, for a person. `arguments` is what the model asked, JSON text.
 *
 * `resolved_arguments` is what was approved instead. `policy` names the rule that decided where nobody was
 * asked.
 */
export interface Approval {
  readonly approvalId: string;
  readonly runId: string;
  readonly toolCallId: string;
  readonly toolName: string;
  readonly arguments: string;
  readonly effects: ReadonlyArray<Effect>;
  readonly preview: Readonly<Record<string, unknown>>;
  readonly askedAt: string;
  readonly expiresAt: string;
  readonly decision?: Decision | null;
  readonly resolvedArguments?: string | null;
  readonly reason?: string | null;
  readonly actor?: string | null;
  readonly policy?: string | null;
  readonly resolvedAt?: string | null;
  readonly status?: AskStatus;
}

/**
 * A question that waits, or waited, for a person's answer; `schema` is a JSON Schema for a form.
 *
 * `content` is the answer: None for one that is `resolved` when nobody answered in time.
 */
export interface InputNeeded {
  readonly requestId: string;
  readonly runId: string;
  readonly prompt: string;
  readonly schema?: Readonly<Record<string, unknown>> | null;
  readonly askedAt?: string | null;
  readonly content?: string | null;
  readonly actor?: string | null;
  readonly resolvedAt?: string | null;
  readonly status?: AskStatus;
}

export interface TextDelta {
  readonly kind: 'text_delta';
  readonly content: string;
}

export interface ThinkingDelta {
  readonly kind: 'thinking';
  readonly content: string;
}

export interface ToolCallStart {
  readonly kind: 'tool_call_start';
  readonly toolCallId: string;
  readonly name: string;
  readonly arguments: string;
}

export interface ToolCallDelta {
  readonly kind: 'tool_call_delta';
  readonly toolCallId: string;
  readonly arguments: string;
}

export interface ToolCallEnd {
  readonly kind: 'tool_call_end';
  readonly toolCallId: string;
}

/**
 * `result` is what the model reads; `blob` holds the whole where it was cut; `mime` maps MIME types to blobs of
 * rich results.
 */
export interface ToolResultReady {
  readonly kind: 'tool_result';
  readonly toolCallId: string;
  readonly result: string;
  readonly isError?: boolean;
  readonly truncated?: boolean;
  readonly blob?: string | null;
  readonly diff?: string | null;
  readonly mime?: Readonly<Record<string, string>>;
}

export interface ToolProgress {
  readonly kind: 'tool_progress';
  readonly toolCallId: string;
  readonly content: string;
}

export interface MessageComplete {
  readonly kind: 'message_complete';
  readonly messageId: string;
}

export interface StepComplete {
  readonly kind: 'step_complete';
  readonly stepIndex: number;
}

/** Usage of the turn so far; `context_max` is None where the model's window is unknown. */
export interface UsageReported {
  readonly kind: 'usage';
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  readonly reasoningTokens: number;
  readonly contextUsed: number;
  readonly contextMax: number | null;
}

export interface AgentEvent {
  readonly type: 'agent_event';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly event: AnyKind;
  readonly crc: string;
}

export interface StatusChange {
  readonly type: 'status_change';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly status: RunStatus;
  readonly crc: string;
}

/** The wire's shape of a tool call in a confirmation request; `arguments` is JSON text. */
export interface ToolDescription {
  readonly identifier: string;
  readonly apiName: string;
  readonly name: string;
  readonly arguments: string;
}

/** A tool call waits for a person. `preview` is the server's canonical picture of what will happen. */
export interface ToolConfirmationRequest {
  readonly type: 'tool_confirmation_request';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly toolCallId: string;
  readonly tool: ToolDescription;
  readonly approvalId: string;
  readonly expiresAt: string;
  readonly effects?: ReadonlyArray<Effect>;
  readonly preview?: Readonly<Record<string, unknown>>;
  readonly crc: string;
}

export interface InputRequest {
  readonly type: 'input_request';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly requestId: string;
  readonly prompt: string;
  readonly schema?: Readonly<Record<string, unknown>> | null;
  readonly crc: string;
}

/** The last event of a run, exactly once. */
export interface SessionComplete {
  readonly type: 'session_complete';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly status: RunStatus;
  readonly usage: Usage;
  readonly summary?: string | null;
  readonly crc: string;
}

/** The run fails: `status_change` and `session_complete` follow. */
export interface ErrorRaised {
  readonly type: 'error';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly code: string;
  readonly message: string;
  readonly crc: string;
}

/** The first event of a run, written when it is created. Whatever a resume needs stands here. */
export interface RunStarted {
  readonly type: 'run_started';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly schemaVersion?: number;
  readonly threadId: string;
  readonly userId: string;
  readonly agent: string;
  readonly model: string;
  readonly input: ReadonlyArray<Text | Image>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly multitask?: string;
  readonly parentRunId?: string | null;
  readonly followUpToRunId?: string | null;
  readonly workflow?: string | null;
  readonly compareGroupId?: string | null;
  readonly cell?: Cell | null;
  readonly steps?: ReadonlyArray<Readonly<Record<string, unknown>>>;
  readonly fork?: Fork | null;
  readonly crc: string;
}

export interface ModelRetry {
  readonly type: 'model_retry';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly attempt: number;
  readonly code: string;
  readonly delayS: number;
  readonly crc: string;
}

/** Older turns were summarised for the model; `before` and `after` are tokens, `usage` is what the summary took. */
export interface Compacted {
  readonly type: 'compacted';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly blob: string;
  readonly turns: number;
  readonly before: number;
  readonly after: number;
  readonly usage?: Usage | null;
  readonly crc: string;
}

export interface ArgumentsRepaired {
  readonly type: 'arguments_repaired';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly toolCallId: string;
  readonly before: string;
  readonly after: string;
  readonly crc: string;
}

export interface ChangeUpdated {
  readonly type: 'change_updated';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly changeId: string;
  readonly path: string;
  readonly status: string;
  readonly diff?: string | null;
  readonly crc: string;
}

/** News of a child run. The child is `childRunId`, since `runId` names the run whose journal this stands in. */
export interface SubagentUpdated {
  readonly type: 'subagent_updated';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly childRunId: string;
  readonly status: string;
  readonly summary?: string | null;
  readonly crc: string;
}

/**
 * A turn is durable. `blob` is the key of its `TurnRecord`; `cache_life_s` is how long the provider keeps a
 * prompt that is not sent again, where that is known.
 */
export interface TurnCommitted {
  readonly type: 'turn_committed';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly turn: number;
  readonly blob: string;
  readonly model: string;
  readonly usage: Usage;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly stopReason: string;
  readonly cacheLifeS?: number | null;
  readonly crc: string;
}

/**
 * `arguments` are the ones to execute, JSON text, where the person edited them; `policy` names the rule where
 * nobody was asked.
 */
export interface ApprovalResolved {
  readonly type: 'approval_resolved';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly approvalId: string;
  readonly toolCallId: string;
  readonly decision: Decision;
  readonly arguments?: string | null;
  readonly reason?: string | null;
  readonly actor?: string | null;
  readonly policy?: string | null;
  readonly remember?: 'run' | 'thread' | null;
  readonly crc: string;
}

/** `content` is the answer, None when nobody answered in time. */
export interface InputReceived {
  readonly type: 'input_received';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly requestId: string;
  readonly content?: string | null;
  readonly actor?: string | null;
  readonly crc: string;
}

/** Durable before the tool acts. `tool_input` is the JSON text that is executed. */
export interface ToolTraceStart {
  readonly type: 'tool_trace_start';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly traceId: string;
  readonly toolCallId: string;
  readonly toolName: string;
  readonly toolInput: string;
  readonly turn: number;
  readonly startedAt: string;
  readonly crc: string;
}

export interface ToolTraceFinish {
  readonly type: 'tool_trace_finish';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly traceId: string;
  readonly toolCallId: string;
  readonly outcome: Outcome;
  readonly latencyMs: number;
  readonly finishedAt: string;
  readonly tokensUsed?: number | null;
  readonly cacheTokens?: number | null;
  readonly reasoningTokens?: number | null;
  readonly error?: string | null;
  readonly crc: string;
}

export interface PhaseStarted {
  readonly type: 'phase_started';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly title: string;
  readonly crc: string;
}

export interface Log {
  readonly type: 'log';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly message: string;
  readonly crc: string;
}

export interface CallStarted {
  readonly type: 'call_started';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly callId: string;
  readonly label?: string | null;
  readonly phase?: string | null;
  readonly key: string;
  readonly crc: string;
}

export interface CallCompleted {
  readonly type: 'call_completed';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly callId: string;
  readonly label?: string | null;
  readonly phase?: string | null;
  readonly key: string;
  readonly cached: boolean;
  readonly reason: string;
  readonly childRunId?: string | null;
  readonly crc: string;
}

export interface StepUpdated {
  readonly type: 'step_updated';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly stepId: string;
  readonly status: string;
  readonly retryCount?: number;
  readonly output?: string | null;
  readonly crc: string;
}

export interface CollisionWarning {
  readonly type: 'collision_warning';
  readonly id: string;
  readonly runId: string;
  readonly at: string;
  readonly path: string;
  readonly environments: ReadonlyArray<string>;
  readonly agents: ReadonlyArray<string>;
  readonly severity: 'adjacent_line' | 'different_area' | 'same_line';
  readonly crc: string;
}

/**
 * One tool call. `arguments` is JSON text, the approved one where a person edited it: then `is_edited`, and what
 * the model wrote changes nothing any more. `result` is None until there is one, `progress` what it said until
 * then.
 */
export interface CompactCall {
  readonly toolCallId: string;
  readonly name: string;
  readonly arguments?: string;
  readonly isEdited?: boolean;
  readonly isEnded?: boolean;
  readonly progress?: string;
  readonly result?: string | null;
  readonly isError?: boolean;
  readonly truncated?: boolean;
  readonly blob?: string | null;
  readonly diff?: string | null;
  readonly mime?: Readonly<Record<string, string>>;
  readonly decision?: Decision | null;
  readonly startedAt?: string | null;
  readonly outcome?: Outcome | null;
  readonly latencyMs?: number | null;
  readonly error?: string | null;
}

/** One turn: what the model thought and said, and the tool calls it asked for. */
export interface CompactTurn {
  readonly turn: number;
  readonly thinking?: string;
  readonly text?: string;
  readonly toolCalls?: ReadonlyArray<CompactCall>;
  readonly model?: string | null;
  readonly usage?: Usage | null;
  readonly startedAt?: string | null;
  readonly finishedAt?: string | null;
  readonly stopReason?: string | null;
  readonly isComplete?: boolean;
}

/**
 * Something that waited for a person when the run was kept: told, never answered. `what` is the tool that is to
 * be approved, or the question.
 */
export interface CompactWait {
  readonly kind: string;
  readonly what: string;
}

export interface CompactError {
  readonly code: string;
  readonly message: string;
}

/**
 * A run at an instant. Everything after `last_event_id` is not in it yet.
 *
 * `usage` counts the committed turns; `live_usage` the turn that is being made. `is_complete` when the run's
 * last event is in it: nothing follows. `first_at` and `last_at` are the times of the first and last event.
 * `detail` is the key of the archived run's detail. Of the form to keep, `left_out` counts the turns and
 * characters that are only on the server.
 */
export interface CompactRun {
  readonly schemaVersion?: number;
  readonly runId: string;
  readonly status: RunStatus;
  readonly threadId?: string | null;
  readonly agent?: string | null;
  readonly model?: string | null;
  readonly prompt?: string;
  readonly pictures?: number;
  readonly forkedFromRunId?: string | null;
  readonly forkedFromTurn?: number | null;
  readonly turns?: ReadonlyArray<CompactTurn>;
  readonly usage?: Usage;
  readonly liveUsage?: UsageReported | null;
  readonly contextUsed?: number;
  readonly contextMax?: number | null;
  readonly modelCallCount?: number;
  readonly approvals?: ReadonlyArray<Approval>;
  readonly inputs?: ReadonlyArray<InputNeeded>;
  readonly waiting?: ReadonlyArray<CompactWait>;
  readonly error?: CompactError | null;
  readonly summary?: string | null;
  readonly isComplete?: boolean;
  readonly firstAt?: string | null;
  readonly lastAt?: string | null;
  readonly lastEventId?: string;
  readonly detail?: string | null;
  readonly leftOutTurns?: number;
  readonly leftOutCharacters?: number;
}

export interface AuthSuccess {
  readonly type: 'auth_success';
}

export interface AuthFailed {
  readonly type: 'auth_failed';
  readonly reason: string;
}

export interface HeartbeatAck {
  readonly type: 'heartbeat_ack';
}

/** What was asked for is not all there. `earliest` and `latest` are the ids of the first and last stored event. */
export interface Gap {
  readonly type: 'gap';
  readonly runId: string;
  readonly requested: string;
  readonly earliest?: string | null;
  readonly latest?: string | null;
}

export interface OpenToolCall {
  readonly toolCallId: string;
  readonly name: string;
  readonly arguments: string;
  readonly startedAt: string | null;
}

/** A run at an instant: sent where history is gone, so that a client can show it without its events. */
export interface Snapshot {
  readonly type: 'snapshot';
  readonly runId: string;
  readonly status: RunStatus;
  readonly agent?: string | null;
  readonly model?: string | null;
  readonly threadId?: string | null;
  readonly turn?: number;
  readonly text?: string;
  readonly openToolCalls?: ReadonlyArray<OpenToolCall>;
  readonly pendingApprovals?: ReadonlyArray<Approval>;
  readonly pendingInputs?: ReadonlyArray<InputNeeded>;
  readonly usage?: Usage;
  readonly budgetLeft?: Readonly<Record<string, unknown>>;
  readonly lastEventId?: string;
}

/** Everything that is stored has been sent; what follows is live. `last_event_id` is None before the first event. */
export interface ReplayComplete {
  readonly type: 'replay_complete';
  readonly runId: string;
  readonly status: RunStatus;
  readonly lastEventId: string | null;
}

/** The command with this `clientId` was carried out; `result` is what it made (for `start_run`: the run). */
export interface Ack {
  readonly type: 'ack';
  readonly clientId: string;
  readonly result?: unknown;
}

/** The command was refused and changed nothing. */
export interface Failed {
  readonly type: 'failed';
  readonly code: string;
  readonly message: string;
  readonly clientId?: string | null;
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Asks the client to carry out a tool that lives there. `arguments` is JSON text. It may come again after a
 * reconnect: `toolCallId` tells that it is the same call.
 */
export interface ClientToolCall {
  readonly type: 'client_tool_call';
  readonly runId: string;
  readonly toolCallId: string;
  readonly name: string;
  readonly arguments: string;
  readonly timeoutS: number;
}

/** The call is no longer wanted: the run was interrupted or the tool timed out. */
export interface ClientToolCancelled {
  readonly type: 'client_tool_cancelled';
  readonly runId: string;
  readonly toolCallId: string;
}

/** To followers of "*": one of their runs was created, changed its status or was deleted. */
export interface RunChanged {
  readonly type: 'run_changed';
  readonly runId: string;
  readonly threadId: string;
  readonly change: 'created' | 'deleted' | 'status';
  readonly status: RunStatus;
  readonly agent?: string | null;
  readonly model?: string | null;
  readonly followUpToRunId?: string | null;
}

export interface ThreadChanged {
  readonly type: 'thread_changed';
  readonly threadId: string;
  readonly change: 'created' | 'deleted' | 'updated';
  readonly title?: string | null;
}

export interface Auth {
  readonly type: 'auth';
  readonly clientId?: string | null;
  readonly token: string;
}

export interface Heartbeat {
  readonly type: 'heartbeat';
  readonly clientId?: string | null;
}

export interface Resume {
  readonly type: 'resume';
  readonly clientId?: string | null;
  readonly lastEventId: string;
}

/**
 * Stops a run: the socket's own (`chatKey`), or the one named. With `if_queued` only one that waits for its
 * turn: one that has begun goes on, and the command fails.
 */
export interface Interrupt {
  readonly type: 'interrupt';
  readonly clientId?: string | null;
  readonly runId?: string | null;
  readonly ifQueued?: boolean;
}

/**
 * Decides an approval. `arguments` is JSON text that replaces what the model asked; `remember` widens an
 * approval to later calls of the same tool with the same effects, in this run or thread.
 */
export interface ToolConfirmation {
  readonly type: 'tool_confirmation';
  readonly clientId?: string | null;
  readonly toolCallId: string;
  readonly approved: boolean;
  readonly approvalId?: string | null;
  readonly runId?: string | null;
  readonly arguments?: string | null;
  readonly reason?: string | null;
  readonly remember?: 'run' | 'thread' | null;
}

export interface UserInput {
  readonly type: 'user_input';
  readonly clientId?: string | null;
  readonly requestId: string;
  readonly content: string;
  readonly runId?: string | null;
}

/**
 * Follows a run from after `last_event_id`; `run_id` "*" follows the status changes of all one's runs.
 *
 * `tools` names client tools of this run that this socket can carry out (and `run_cell`, when the client is the
 * waiting cell).
 */
export interface Follow {
  readonly type: 'follow';
  readonly clientId?: string | null;
  readonly runId: string;
  readonly lastEventId?: string | null;
  readonly channels?: ReadonlyArray<'error' | 'status' | 'text' | 'tool_call' | 'tool_result' | 'trace' | 'workflow'> | null;
  readonly tools?: ReadonlyArray<string>;
}

export interface Unfollow {
  readonly type: 'unfollow';
  readonly clientId?: string | null;
  readonly runId: string;
}

/** Starts a run over the socket; the `ack` carries the run. The starting socket follows it when `follow` is true. */
export interface StartRun {
  readonly type: 'start_run';
  readonly input: string | ReadonlyArray<Text | Image>;
  readonly model?: string | null;
  readonly threadId?: string | null;
  readonly agent?: string | null;
  readonly tools?: ReadonlyArray<string> | null;
  readonly clientTools?: ReadonlyArray<ToolSpec>;
  readonly budget?: Budget | null;
  readonly policy?: string | null;
  readonly instructions?: string | null;
  readonly onAsk?: 'reject' | 'wait';
  readonly multitask?: Multitask;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly followUpToRunId?: string | null;
  readonly script?: unknown;
  readonly kernelId?: string | null;
  readonly waits?: boolean;
  readonly cell?: Cell | null;
  readonly clientId?: string | null;
  readonly follow?: boolean;
}

/** Answers a `client_tool_call`. `mime` maps MIME types of rich results to base64 or text. */
export interface ClientToolResult {
  readonly type: 'client_tool_result';
  readonly clientId?: string | null;
  readonly runId: string;
  readonly toolCallId: string;
  readonly result: string;
  readonly isError?: boolean;
  readonly mime?: Readonly<Record<string, string>>;
}

/** Output of a client tool while it works. */
export interface ClientToolProgress {
  readonly type: 'client_tool_progress';
  readonly clientId?: string | null;
  readonly runId: string;
  readonly toolCallId: string;
  readonly content: string;
}

export type AnyKind =
  | TextDelta
  | ThinkingDelta
  | ToolCallStart
  | ToolCallDelta
  | ToolCallEnd
  | ToolResultReady
  | ToolProgress
  | MessageComplete
  | StepComplete
  | UsageReported;

export type AnyEvent =
  | AgentEvent
  | StatusChange
  | ToolConfirmationRequest
  | InputRequest
  | SessionComplete
  | ErrorRaised
  | RunStarted
  | ModelRetry
  | Compacted
  | ArgumentsRepaired
  | ChangeUpdated
  | SubagentUpdated
  | TurnCommitted
  | ApprovalResolved
  | InputReceived
  | ToolTraceStart
  | ToolTraceFinish
  | PhaseStarted
  | Log
  | CallStarted
  | CallCompleted
  | StepUpdated
  | CollisionWarning;

export type AnyControl =
  | AuthSuccess
  | AuthFailed
  | HeartbeatAck
  | Gap
  | Snapshot
  | ReplayComplete
  | Ack
  | Failed
  | ClientToolCall
  | ClientToolCancelled
  | RunChanged
  | ThreadChanged;

export type AnyCommand =
  | Auth
  | Heartbeat
  | Resume
  | Interrupt
  | ToolConfirmation
  | UserInput
  | Follow
  | Unfollow
  | StartRun
  | ClientToolResult
  | ClientToolProgress;

/** What the gateway sends. */
export type AnyFrame = AnyEvent | AnyControl;

type Shape = 'string' | 'number' | 'boolean' | 'object' | 'array' | 'any';
type Shapes = Readonly<Record<string, Readonly<Record<string, Shape>>>>;

/** Is this an event of a type that this version knows, with the fields it must have? */
export function isEvent(value: unknown): value is AnyEvent {
  return fits(EVENT_FIELDS, 'type', value) && (value.type !== 'agent_event' || fits(KIND_FIELDS, 'kind', value.event));
}

/** Is this a control frame of a type that this version knows, with the fields it must have? */
export function isControl(value: unknown): value is AnyControl {
  return fits(CONTROL_FIELDS, 'type', value);
}

/** Is this a command of a type that this version knows, with the fields it must have? */
export function isCommand(value: unknown): value is AnyCommand {
  return fits(COMMAND_FIELDS, 'type', value);
}

function fits(shapes: Shapes, tag: string, value: unknown): value is Record<string, unknown> {
  if (shapeOf(value) !== 'object') {
    return false;
  }
  const fields = value as Record<string, unknown>;
  const type = fields[tag];
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) {
    return false;
  }
  return Object.entries(shapes[type] ?? {}).every(([name, shape]) =>
    shape === 'any' ? name in fields : shapeOf(fields[name]) === shape
  );
}

function shapeOf(value: unknown): string {
  return Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
}

const KIND_FIELDS: Shapes = {
  text_delta: { content: 'string' },
  thinking: { content: 'string' },
  tool_call_start: { toolCallId: 'string', name: 'string', arguments: 'string' },
  tool_call_delta: { toolCallId: 'string', arguments: 'string' },
  tool_call_end: { toolCallId: 'string' },
  tool_result: { toolCallId: 'string', result: 'string' },
  tool_progress: { toolCallId: 'string', content: 'string' },
  message_complete: { messageId: 'string' },
  step_complete: { stepIndex: 'number' },
  usage: { inputTokens: 'number', outputTokens: 'number', cacheReadTokens: 'number', cacheWriteTokens: 'number', reasoningTokens: 'number', contextUsed: 'number', contextMax: 'any' }
};

const EVENT_FIELDS: Shapes = {
  agent_event: { id: 'string', runId: 'string', at: 'string', event: 'object', crc: 'string' },
  status_change: { id: 'string', runId: 'string', at: 'string', status: 'string', crc: 'string' },
  tool_confirmation_request: { id: 'string', runId: 'string', at: 'string', toolCallId: 'string', tool: 'object', approvalId: 'string', expiresAt: 'string', crc: 'string' },
  input_request: { id: 'string', runId: 'string', at: 'string', requestId: 'string', prompt: 'string', crc: 'string' },
  session_complete: { id: 'string', runId: 'string', at: 'string', status: 'string', usage: 'object', crc: 'string' },
  error: { id: 'string', runId: 'string', at: 'string', code: 'string', message: 'string', crc: 'string' },
  run_started: { id: 'string', runId: 'string', at: 'string', threadId: 'string', userId: 'string', agent: 'string', model: 'string', input: 'array', crc: 'string' },
  model_retry: { id: 'string', runId: 'string', at: 'string', attempt: 'number', code: 'string', delayS: 'number', crc: 'string' },
  compacted: { id: 'string', runId: 'string', at: 'string', blob: 'string', turns: 'number', before: 'number', after: 'number', crc: 'string' },
  arguments_repaired: { id: 'string', runId: 'string', at: 'string', toolCallId: 'string', before: 'string', after: 'string', crc: 'string' },
  change_updated: { id: 'string', runId: 'string', at: 'string', changeId: 'string', path: 'string', status: 'string', crc: 'string' },
  subagent_updated: { id: 'string', runId: 'string', at: 'string', childRunId: 'string', status: 'string', crc: 'string' },
  turn_committed: { id: 'string', runId: 'string', at: 'string', turn: 'number', blob: 'string', model: 'string', usage: 'object', startedAt: 'string', finishedAt: 'string', stopReason: 'string', crc: 'string' },
  approval_resolved: { id: 'string', runId: 'string', at: 'string', approvalId: 'string', toolCallId: 'string', decision: 'string', crc: 'string' },
  input_received: { id: 'string', runId: 'string', at: 'string', requestId: 'string', crc: 'string' },
  tool_trace_start: { id: 'string', runId: 'string', at: 'string', traceId: 'string', toolCallId: 'string', toolName: 'string', toolInput: 'string', turn: 'number', startedAt: 'string', crc: 'string' },
  tool_trace_finish: { id: 'string', runId: 'string', at: 'string', traceId: 'string', toolCallId: 'string', outcome: 'string', latencyMs: 'number', finishedAt: 'string', crc: 'string' },
  phase_started: { id: 'string', runId: 'string', at: 'string', title: 'string', crc: 'string' },
  log: { id: 'string', runId: 'string', at: 'string', message: 'string', crc: 'string' },
  call_started: { id: 'string', runId: 'string', at: 'string', callId: 'string', key: 'string', crc: 'string' },
  call_completed: { id: 'string', runId: 'string', at: 'string', callId: 'string', key: 'string', cached: 'boolean', reason: 'string', crc: 'string' },
  step_updated: { id: 'string', runId: 'string', at: 'string', stepId: 'string', status: 'string', crc: 'string' },
  collision_warning: { id: 'string', runId: 'string', at: 'string', path: 'string', environments: 'array', agents: 'array', severity: 'string', crc: 'string' }
};

const CONTROL_FIELDS: Shapes = {
  auth_success: {},
  auth_failed: { reason: 'string' },
  heartbeat_ack: {},
  gap: { runId: 'string', requested: 'string' },
  snapshot: { runId: 'string', status: 'string' },
  replay_complete: { runId: 'string', status: 'string', lastEventId: 'any' },
  ack: { clientId: 'string' },
  failed: { code: 'string', message: 'string' },
  client_tool_call: { runId: 'string', toolCallId: 'string', name: 'string', arguments: 'string', timeoutS: 'number' },
  client_tool_cancelled: { runId: 'string', toolCallId: 'string' },
  run_changed: { runId: 'string', threadId: 'string', change: 'string', status: 'string' },
  thread_changed: { threadId: 'string', change: 'string' }
};

const COMMAND_FIELDS: Shapes = {
  auth: { token: 'string' },
  heartbeat: {},
  resume: { lastEventId: 'string' },
  interrupt: {},
  tool_confirmation: { toolCallId: 'string', approved: 'boolean' },
  user_input: { requestId: 'string', content: 'string' },
  follow: { runId: 'string' },
  unfollow: { runId: 'string' },
  start_run: { input: 'any' },
  client_tool_result: { runId: 'string', toolCallId: 'string', result: 'string' },
  client_tool_progress: { runId: 'string', toolCallId: 'string', content: 'string' }
};
