"""REST of what there is: models and what they cost, tools, policies, and whether the gateway is well."""

import asyncio
from importlib.metadata import version
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import astuple
from tornado import web

from ..exceptions import InvalidRequest
from ..models import ModelInfo
from ..records import Page, ToolSpec, Usage
from ..runtime.policy import POLICIES
from .rest import AgentHandler, authorized, operation

MOST: Final = 2**53
"""Of tokens: more than anybody uses, and JavaScript counts no further."""


class ModelList(Struct, frozen=True, kw_only=True):
    """The models of this server, and the one that is used where none is named."""

    items: tuple[ModelInfo, ...]
    default: str


class PolicyInfo(Struct, frozen=True, kw_only=True, rename="camel"):
    """A policy that a run can name."""

    name: str
    is_default: bool


class Health(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether runs can be started. `message` says what is wrong and what to do; `toolsOffReason` why agents have no
    tools. By `gatewayId` a page and a kernel find out whether they talk to the same gateway."""

    status: Literal["ok", "unavailable"]
    version: str
    gateway_id: str
    code: str | None = None
    message: str | None = None
    active_runs: int = 0
    tools_off_reason: str | None = None


class Used(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens that a model may use or have used."""

    model: Annotated[str, Meta(max_length=256)]
    usage: Usage


class Uses(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be priced."""

    items: Annotated[tuple[Used, ...], Meta(max_length=4_000)]


class Models(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:models")
    @operation("The models, offline ones first; never a key", answer=ModelList)
    async def get(self) -> None:
        models = (await self.rooms()).models
        self.reply(ModelList(items=tuple(models.list()), default=models.default))


class Costs(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:models")
    @operation("What these tokens cost, in US dollars, one by one; null where a price is unknown. Nothing is kept",
               body=Uses, answer=Page[float | None])  # fmt: skip
    async def post(self) -> None:
        uses, rooms = self.sent(Uses).items, await self.rooms()
        for use in uses:
            if any(isinstance(value, int | float) and not 0 <= value <= MOST for value in astuple(use.usage)):
                raise InvalidRequest(f"The tokens of {use.model[:80]!r} are no counts: send 0 or more, at most {MOST}.")
        async with rooms.long_work:
            costs = await asyncio.to_thread(lambda: tuple(rooms.prices.cost(use.model, use.usage) for use in uses))
        self.reply(Page(items=costs))


class Tools(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:tools")
    @operation("The tools that agents have here", answer=Page[ToolSpec])
    async def get(self) -> None:
        toolbox = (await self.rooms()).toolbox
        enabled = self.gateway.tools_off_reason is None
        self.reply(Page(items=toolbox.specs() if enabled else ()))


class Policies(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:policies")
    @operation("The policies that a run can name", answer=Page[PolicyInfo])
    async def get(self) -> None:
        names = (PolicyInfo(name=name, is_default=name == self.gateway.policy) for name in POLICIES)
        self.reply(Page(items=tuple(names)))


class HealthCheck(AgentHandler):
    _track_activity = False

    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:health")
    @operation("Whether the gateway is well; 503 where it is not, with what to do", answer=Health, faults=(503,))
    async def get(self) -> None:
        fault = await self.gateway.find_fault()
        self.reply(
            Health(
                status="ok" if fault is None else "unavailable",
                version=version("jupyter_agent"),
                gateway_id=self.gateway.gateway_id,
                code=fault.code if fault else None,
                message=fault.message if fault else None,
                active_runs=len(self.gateway.rooms.runner.active_run_ids) if fault is None else 0,
                tools_off_reason=self.gateway.tools_off_reason,
            ),
            200 if fault is None else 503,
        )
