"""Agent runs as first-class notebook objects: live in the cell, durable on the server, a DataFrame to study.

    import jupyter_agent as ja
    run = ja.run("Which of the CSV files here has the most missing values?")
    run.result()

This is the front door of two processes: the Jupyter server enters by the extension hooks, a kernel by the names in
`__all__`. Nothing of either is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.front import (
        amodels,
        aopen,
        arun,
        athread,
        athreads,
        connect,
        models,
        open,  # noqa: A004 - the spec's name
        run,
        thread,
        threads,
    )
    from .client.run import Run
    from .client.thread import Thread
    from .client.tool import tool
    from .client.workflow import Workflow, workflow
    from .client.workflow_run import WorkflowRun
    from .client.workflows import (
        aapprove_workflow,
        approve_workflow,
        arun_workflow,
        aworkflow_run,
        aworkflow_runs,
        aworkflows,
        run_workflow,
        workflow_run,
        workflow_runs,
        workflows,
    )
    from .frames.gateway import (
        acache,
        adiff,
        aevents,
        afeedback,
        amessages,
        apass_at_k,
        aruns,
        asegments,
        atool_calls,
        aturns,
        ausage,
        cache,
        diff,
        feedback,
        messages,
        pass_at_k,
        runs,
        segments,
        tool_calls,
        turns,
        usage,
    )
    from .frames.profile import profile
    from .frames.store import open_store
    from .traces.exporting import export
    from .traces.importing import import_traces
    from .widgets.approvals_view import ApprovalsView
    from .widgets.run_view import RunView
    from .widgets.trace_table import TraceTable
    from .widgets.whole_view import CacheChart, CompareView, Timeline
    from .widgets.workflow_view import WorkflowView

_FRONT = "jupyter_agent.client.front"
_HOMES = {
    **dict.fromkeys(
        ("run", "arun", "open", "aopen", "thread", "athread", "threads", "athreads", "models",
         "amodels", "connect"),
        _FRONT,
    ),
    **dict.fromkeys(
        ("runs", "aruns", "turns", "aturns", "messages", "amessages", "tool_calls", "atool_calls",
         "segments", "asegments", "aevents", "usage", "ausage", "feedback", "afeedback", "cache",
         "acache", "diff", "adiff", "pass_at_k", "apass_at_k"),
        "jupyter_agent.frames.gateway",
    ),
    **dict.fromkeys(
        ("workflows", "aworkflows", "run_workflow", "arun_workflow", "workflow_run", "aworkflow_run", "workflow_runs",
         "aworkflow_runs", "approve_workflow", "aapprove_workflow"),
        "jupyter_agent.client.workflows",
    ),
    "open_store": "jupyter_agent.frames.store",
    "profile": "jupyter_agent.frames.profile",
    "import_traces": "jupyter_agent.traces.importing",
    "export": "jupyter_agent.traces.exporting",
    "Run": "jupyter_agent.client.run",
    "Thread": "jupyter_agent.client.thread",
    "tool": "jupyter_agent.client.tool",
    "Workflow": "jupyter_agent.client.workflow",
    "WorkflowRun": "jupyter_agent.client.workflow_run",
    "RunView": "jupyter_agent.widgets.run_view",
    "ApprovalsView": "jupyter_agent.widgets.approvals_view",
    "TraceTable": "jupyter_agent.widgets.trace_table",
    **dict.fromkeys(("Timeline", "CacheChart", "CompareView"), "jupyter_agent.widgets.whole_view"),
    "WorkflowView": "jupyter_agent.widgets.workflow_view",
}  # fmt: skip

__all__ = [  # noqa: RUF022 - what is used most comes first
    "run", "arun", "Run", "open", "aopen", "runs", "aruns", "tool", "thread", "athread", "Thread", "threads",
    "athreads", "models", "amodels", "connect", "RunView", "ApprovalsView", "TraceTable", "Timeline", "CacheChart",
    "CompareView", "WorkflowView", "workflow", "Workflow", "workflows", "aworkflows", "run_workflow", "arun_workflow",
    "workflow_run", "aworkflow_run", "workflow_runs", "aworkflow_runs", "approve_workflow", "aapprove_workflow",
    "WorkflowRun", "profile",
    "turns", "aturns", "messages", "amessages", "tool_calls", "atool_calls", "segments", "asegments",
    "events", "aevents", "usage", "ausage", "feedback", "afeedback", "cache", "acache", "diff", "adiff",
    "pass_at_k", "apass_at_k", "open_store",
    "import_traces", "export", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("jupyter_agent")
    elif name in ("events", "workflow"):
        # The module of this name, which is called for the frame, or the workflow. Whoever imports it comes by here too.
        value = import_module(f"jupyter_agent.{name}")
    elif name in _HOMES:
        _attach_views()
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _events() -> Any:
    """Returns the function that `ja.events(…)` calls."""
    _attach_views()
    from .frames.gateway import events

    return events


def _workflow() -> Any:
    """Returns the function that `ja.workflow(…)` calls."""
    _attach_views()
    from .client.workflow import workflow

    return workflow


def __dir__() -> list[str]:
    return sorted([*__all__, "load_ipython_extension"])


def _attach_views() -> None:
    """Gives the client's runs their frames and their look in a notebook, which the client knows nothing of."""
    from .frames import attach as attach_frames
    from .traces import attach as attach_traces
    from .widgets import attach as attach_widgets

    attach_frames()
    attach_traces()
    attach_widgets()


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext jupyter_agent`."""
    from .magics import load

    _attach_views()
    load(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tells Jupyter's server where the gateway is."""
    from .gateway.app import AgentGateway

    return [{"module": "jupyter_agent", "app": AgentGateway}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tells JupyterLab where the lab extension is."""
    return [{"src": "labextension", "dest": "jupyter-agent"}]
