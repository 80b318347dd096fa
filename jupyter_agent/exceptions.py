"""What can go wrong, drawn as a tree.

Every fault has a `code` (stable, for programs) and a message (one or two whole sentences, for people: what happened,
with the offending value, and what to do next). One table in the gateway maps the branches of this tree to HTTP
statuses and WebSocket close codes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar


class AgentError(Exception):
    """The root: a fault with a code, a message and details that can be shown to its owner."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})

    def _render_traceback_(self) -> list[str]:
        """Says to IPython what to show in a notebook: the fault in one paragraph, no stack from our insides."""
        return [f"{type(self).__name__}: {self.message}"]


# --- what was asked for cannot be ----------------------------------------------------------------------------


class InvalidRequest(AgentError):
    """The request is malformed or a field has a wrong value; `details["fields"]` names each."""

    code = "invalid_request"


class FlowInvalid(InvalidRequest):
    """A flow that could not come to an end; `details["faults"]` names all that is wrong, with the steps."""

    code = "flow_invalid"


class WorkflowInvalid(InvalidRequest):
    """A workflow's script cannot be used as it is written; `details` has `line`, `column`, `cell`, `construct`."""

    code = "workflow_invalid"


class Unauthenticated(AgentError):
    """No credential, or one that does not hold."""

    code = "unauthenticated"


class Forbidden(AgentError):
    """The credential holds but does not reach this far."""

    code = "forbidden"


class WorkflowNotApproved(Forbidden):
    """A workflow of the workspace is data until a person approved its very text; `details` has its `digest`."""

    code = "workflow_not_approved"


class RateLimited(AgentError):
    """Too much at once; `details["retryAfterS"]` says when to come back."""

    code = "rate_limited"


class TooLarge(AgentError):
    """A body, a frame or a field over its limit."""

    code = "too_large"


class NotFound(AgentError):
    """It does not exist, or belongs to somebody else: the two look alike."""

    code = "not_found"


class RunNotFound(NotFound):
    code = "run_not_found"


class ThreadNotFound(NotFound):
    code = "thread_not_found"


class ApprovalNotFound(NotFound):
    code = "approval_not_found"


class InputNotFound(NotFound):
    code = "input_not_found"


class FeedbackNotFound(NotFound):
    code = "feedback_not_found"


class BlobNotFound(NotFound):
    code = "blob_not_found"


class FlowNotFound(NotFound):
    code = "flow_not_found"


class FlowRunNotFound(NotFound):
    code = "flow_run_not_found"


class WorkflowRunNotFound(NotFound):
    code = "workflow_run_not_found"


class WorkflowNotFound(NotFound):
    code = "workflow_not_found"


class UnknownModel(NotFound):
    code = "unknown_model"


class Conflict(AgentError):
    """It cannot be done in the present state."""

    code = "conflict"


class ThreadBusy(Conflict):
    """The thread has an active run and the strategy is to reject."""

    code = "thread_busy"


class RunActive(Conflict):
    code = "run_active"


class RunFinished(Conflict):
    code = "run_finished"


class LeaseLost(Conflict):
    """Another process carries this run out: what this one was about to write or start was refused."""

    code = "lease_lost"


class RunElsewhere(Conflict):
    """Another server carries this run out and could not be asked to do something with it."""

    code = "run_elsewhere"


class AlreadyResolved(Conflict):
    """An approval or input that has been decided before: the first decision stands."""

    code = "already_resolved"


# --- what keeps things ----------------------------------------------------------------------------------------


class StorageError(AgentError):
    """The store could not do it; nothing was half done."""

    code = "storage_error"


class StorageFull(StorageError):
    code = "storage_full"


class StorageUnavailable(StorageError):
    """The store answered with an I/O error; it acknowledges nothing more until it is checked."""

    code = "storage_unavailable"


class SchemaTooNew(StorageError):
    """A database, journal or blob written by a newer jupyter_agent."""

    code = "schema_too_new"


class JournalDamaged(StorageError):
    """A journal with a damaged line in its middle; `details` has `path`, `offset` (bytes) and `seq`."""

    code = "journal_damaged"


class BlobDamaged(StorageError):
    """The bytes under a key do not hash to it: they are never served."""

    code = "blob_damaged"


# --- what ends or bends a run --------------------------------------------------------------------------------


class BudgetExceeded(AgentError):
    """A limit is used up; `details` has `limit`, `allowed` and `used`."""

    code = "budget_exceeded"


class TooManyCalls(Conflict):
    """A run of a workflow made as many calls as it may; `details` has `allowed`."""

    code = "too_many_calls"


class CallTimedOut(AgentError):
    """A call of a workflow took longer than it may."""

    code = "call_timed_out"


class SchemaNotSatisfied(AgentError):
    """A call's answers never had the form that it asked for; `details` has `wrong`, what was wrong with the last."""

    code = "schema_not_satisfied"


class WorkflowFailed(AgentError):
    """A workflow's script raised; `details` has `type`, `line`, `cell` where known."""

    code = "workflow_failed"


class SandboxLimit(BudgetExceeded):
    """A workflow's script went over a limit of its sandbox; `details` has `limit` and `allowed`."""

    code = "sandbox_limit"


class SandboxUnavailable(AgentError):
    """No sandbox to carry a workflow out in; the message says what to install. It is never carried out without one."""

    code = "sandbox_unavailable"


class LoopDetected(AgentError):
    """The agent repeated itself without any change."""

    code = "loop_detected"


class ModelError(AgentError):
    """A model call failed. `retryable` says whether the same request may succeed later, `retry_after_s` when."""

    code = "model_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class ModelUnavailable(ModelError):
    """The provider answered with a server error or could not be reached."""

    code = "model_unavailable"
    retryable = True


class ModelRateLimited(ModelError):
    code = "model_rate_limited"
    retryable = True


class ModelTimeout(ModelError):
    code = "model_timeout"
    retryable = True


class StreamCut(ModelError):
    """The provider's stream ended without its closing word."""

    code = "stream_cut"
    retryable = True


class BadCredentials(ModelError):
    code = "bad_credentials"


class QuotaExhausted(ModelError):
    code = "quota_exhausted"


class ContextOverflow(ModelError):
    code = "context_overflow"


class ModelRefused(ModelError):
    code = "model_refused"


class InvalidModelRequest(ModelError):
    """The provider refused the request as malformed, or the model cannot do what was asked (images, tools)."""

    code = "invalid_model_request"


class InvalidModelAnswer(ModelError):
    """The provider sent what is no answer."""

    code = "invalid_model_answer"
    retryable = True


class ToolError(AgentError):
    """A tool call that failed: its message is the result that the model reads."""

    code = "tool_error"


class UnknownTool(ToolError):
    code = "unknown_tool"


class InvalidArguments(ToolError):
    code = "invalid_arguments"


class ToolTimedOut(ToolError):
    code = "tool_timed_out"


class ToolRejected(ToolError):
    """A person or a policy said no."""

    code = "tool_rejected"


class OutcomeUnknown(ToolError):
    """The tool may have acted: whatever carried it out is gone."""

    code = "outcome_unknown"


class OutsideWorkspace(ToolError):
    code = "outside_workspace"


class KernelUnavailable(ToolError):
    code = "kernel_unavailable"


# --- on the client's side ------------------------------------------------------------------------------------


class GatewayNotFound(AgentError):
    """No gateway to talk to; the message names the command that starts one."""

    code = "gateway_not_found"


class ConnectionLost(AgentError):
    """The gateway went away and did not come back in time. The run itself goes on."""

    code = "connection_lost"


class RunFailed(AgentError):
    """A run that was awaited ended in `error` or `interrupted`; `details["code"]` has the run's own code."""

    code = "run_failed"


# --- from one process to another ------------------------------------------------------------------------------


@cache
def _classes() -> Mapping[str, type[AgentError]]:
    return {cls.code: cls for cls in _tree(AgentError)}


def _tree(cls: type[AgentError]) -> Iterator[type[AgentError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def fault_named(code: str, message: str, details: Mapping[str, Any] | None = None) -> AgentError:
    """Returns the exception of a fault that another process names by its code. A code that this version does not know
    becomes a plain AgentError with the code in its details."""
    cls = _classes().get(code)
    if cls is None:
        return AgentError(message, details={"code": code, **(details or {})})
    return cls(message, details=details)
