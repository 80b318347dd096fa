"""The table of routes: one line an address."""

from typing import TYPE_CHECKING, Any, Final

from . import (
    approvals,
    blobs,
    catalog,
    feedback,
    flows,
    frames,
    openapi,
    plans,
    retention,
    runs,
    scripts,
    sse,
    threads,
    workflows,
)
from .rest import AgentHandler
from .websocket import AgentSocket

if TYPE_CHECKING:
    from .app import AgentGateway

BASE: Final = "/jupyter-agent"
API: Final = f"{BASE}/api"
_RUN: Final = r"(?P<run_id>[^/]+)"
_WORKFLOW: Final = r"(?P<workflow>[^/]+)"
_WORKFLOW_RUN: Final = r"(?P<workflow_run_id>[^/]+)"
_FLOW_RUN: Final = r"(?P<flow_run_id>[^/]+)"

ROUTES: Final[tuple[tuple[str, type[AgentHandler]], ...]] = (
    ("/threads", threads.Threads),
    (r"/threads/(?P<thread_id>[^/]+)", threads.OneThread),
    (r"/threads/(?P<thread_id>[^/]+)/feedback", feedback.ThreadFeedback),
    ("/runs", runs.Runs),
    (f"/runs/{_RUN}", runs.OneRun),
    (f"/runs/{_RUN}/transcript", runs.RunTranscript),
    (f"/runs/{_RUN}/display", runs.RunDisplay),
    (f"/runs/{_RUN}/interrupt", runs.InterruptRun),
    (f"/runs/{_RUN}/fork", runs.ForkRun),
    (f"/runs/{_RUN}/events", sse.Events),
    (f"/runs/{_RUN}/turns", runs.Turns),
    (f"/runs/{_RUN}/traces", runs.Traces),
    (f"/runs/{_RUN}/usage", runs.RunUsage),
    (f"/runs/{_RUN}/feedback", feedback.RunFeedback),
    (f"/runs/{_RUN}/feedback/summary", feedback.RunFeedbackSummary),
    (r"/feedback/(?P<feedback_id>[^/]+)", feedback.OneFeedback),
    (f"/runs/{_RUN}/approvals", approvals.RunApprovals),
    (f"/runs/{_RUN}/inputs", approvals.RunInputs),
    (rf"/runs/{_RUN}/inputs/(?P<request_id>[^/]+)", approvals.OneInput),
    (r"/approvals/(?P<approval_id>[^/]+)", approvals.OneApproval),
    (r"/frames/(?P<kind>[^/]+)", frames.Facts),
    ("/workflow-runs", workflows.WorkflowRuns),
    (f"/workflow-runs/{_WORKFLOW_RUN}", workflows.OneWorkflowRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/budget", workflows.BudgetOfRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/calls", workflows.WorkflowCalls),
    (f"/workflow-runs/{_WORKFLOW_RUN}/calls/look", workflows.LookAtCalls),
    (f"/workflow-runs/{_WORKFLOW_RUN}/calls/stop", workflows.StopCalls),
    (f"/workflow-runs/{_WORKFLOW_RUN}/calls/news", workflows.NewsOfCalls),
    (f"/workflow-runs/{_WORKFLOW_RUN}/steps", workflows.StepsOfRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/release", workflows.ReleaseClaims),
    (f"/workflow-runs/{_WORKFLOW_RUN}/status", scripts.StatusOfRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/events", scripts.EventsOfRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/cancel", scripts.CancelRun),
    (f"/workflow-runs/{_WORKFLOW_RUN}/resume", scripts.ResumeRun),
    ("/workflows", scripts.AllWorkflows),
    (f"/workflows/{_WORKFLOW}", scripts.OneWorkflow),
    (f"/workflows/{_WORKFLOW}/approve", scripts.ApproveWorkflow),
    (f"/workflows/{_WORKFLOW}/runs", scripts.RunsOfWorkflow),
    (f"/workflows/{_WORKFLOW}/export", plans.ExportOfWorkflow),
    (f"/workflows/{_WORKFLOW}/plan", plans.PlanOfWorkflow),
    (f"/workflows/{_WORKFLOW}/results", workflows.StoredResults),
    ("/flows", flows.FlowsOfServer),
    (r"/flows/(?P<flow>[^/]+)/runs", flows.RunsOfFlow),
    ("/flow-runs", flows.FlowRuns),
    (f"/flow-runs/{_FLOW_RUN}", flows.OneFlowRun),
    (rf"/flow-runs/{_FLOW_RUN}/steps/(?P<step>[^/]+)", flows.ResolveFlowStep),
    (f"/flow-runs/{_FLOW_RUN}/cancel", flows.CancelFlowRun),
    ("/blobs", blobs.Blobs),
    (r"/blobs/(?P<digest>[^/]+)", blobs.OneBlob),
    ("/models", catalog.Models),
    ("/costs", catalog.Costs),
    ("/tools", catalog.Tools),
    ("/policies", catalog.Policies),
    ("/prune", retention.Prune),
    ("/health", catalog.HealthCheck),
    ("/openapi.json", openapi.Document),
)


def handlers(gateway: "AgentGateway") -> list[tuple[str, type[Any], dict[str, Any]]]:
    """Returns the handlers of the extension, as the server takes them."""
    rest = [(f"{API}{pattern}", handler, {"gateway": gateway}) for pattern, handler in ROUTES]
    return [(f"{BASE}/ws", AgentSocket, {"gateway": gateway}), *rest]
