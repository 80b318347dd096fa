"""REST of what comes between a notebook and a run: what a workflow would take, and its cells as a script."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from tornado import web

from ..script import MAX_CALLS
from ..script.placed import PlacedCall
from ..script.plan import WorkflowPlan
from ..workflow.exporting import Exported
from ..workflow.planning import plan_of_calls, plan_of_last_pass
from ..workflow.script_file import MAX_CELLS
from .rest import AgentHandler, authorized, operation
from .scripts import named


class PlanWorkflow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is planned: the approved `script` with these arguments, carried out as far as stored answers reach, these
    `calls` made again, or those of the `lastPass`."""

    args: dict[str, Any] = {}
    basis: Literal["script", "calls", "lastPass"] = "script"
    calls: Annotated[tuple[PlacedCall, ...], Meta(max_length=MAX_CALLS)] = ()


class ExportCells(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The cells of a notebook's workflow, without their first lines, and what holds for all of their calls.

    It is written, never run: a person approves its text first. `replace` writes over another text.
    """

    cells: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_CELLS)]
    model: str | None = None
    settings: dict[str, Any] = {}
    instructions: str | None = None
    replace: bool = False


class ExportOfWorkflow(AgentHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:workflows")
    @operation("Write a notebook's cells as a script of the workspace where all are portable, or say what is not",
               body=ExportCells, answer=Exported, faults=(404, 409))  # fmt: skip
    async def post(self, workflow: str) -> None:
        sent = self.sent(ExportCells)
        headless = (await self.rooms()).headless
        said = {"model": sent.model, "settings": sent.settings, "instructions": sent.instructions}
        given = {name: value for name, value in said.items() if value}
        name = named(workflow)
        self.reply(await headless.export(name, sent.cells, given, replace=sent.replace))


class PlanOfWorkflow(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:workflows")
    @operation("What a workflow would take from the store, run live and spend; it claims and starts nothing",
               body=PlanWorkflow, answer=WorkflowPlan, faults=(403, 404))  # fmt: skip
    async def post(self, workflow: str) -> None:
        sent = self.sent(PlanWorkflow)
        rooms = await self.rooms()
        name = named(workflow)
        match sent.basis:
            case "script":
                plan = await rooms.headless.plan(name, sent.args, by=self.principal)
            case "calls":
                plan = await plan_of_calls(rooms.calls, name, sent.calls, by=self.principal)
            case _:
                plan = await plan_of_last_pass(rooms.calls, name, sent.args, by=self.principal)
        self.reply(plan)
