"""`ja.ApprovalsView()`: everything of one's own that waits for a person, as a widget."""

from typing import Any

import msgspec
from traitlets import Unicode

from ..client.client import Client
from ..client.rows import Rows
from ..client.session import session
from ..exceptions import AgentError, NotFound
from ..records import Approval, InputNeeded, Page, RunStatus
from .base import AgentWidget
from .talk import Answering, Send, Talk, may_decide, understood

LISTED = 200
"""Runs that are asked for what waits in them."""
TOLD = 100
"""Approvals, and questions, that a page is told of at once."""
LOOK_S = 3.0


class ApprovalsView(AgentWidget):
    """Shows what waits for you in any run of this gateway, and lets you decide where the page reaches the gateway.

    `approvals` and `inputs` are what waits now; `df` is all of it as a DataFrame. It is asked of the gateway each time,
    and is never kept in a notebook. Raises GatewayNotFound.
    """

    gateway_id = Unicode(read_only=True).tag(sync=True)
    """By it a page sees whether its own server is the gateway. It opens nothing."""

    def __init__(self, **options: Any) -> None:
        self._client = session().client
        self.set_trait("_kind", "approvals")
        self.set_trait("gateway_id", self._client.wait(self._client.gateway_id()))
        super().__init__(**options)
        self._talk = WaitingTalk(self._client, self.send, may_decide=may_decide(self._client))
        self.talk_over_comm(self._talk)

    def __repr__(self) -> str:
        return f"<ApprovalsView of {self._client!r}>"

    @property
    def approvals(self) -> Rows[Approval]:
        """The tool calls that wait for a person now."""
        return Rows.of("approvals", self._client.wait(_approvals(self._client)))

    @property
    def inputs(self) -> Rows[InputNeeded]:
        """The questions that wait for an answer now."""
        return Rows.of("inputs", self._client.wait(_inputs(self._client)))

    @property
    def df(self) -> Any:
        """Everything that waits now, approvals first, a row each; `kind` tells them from questions."""
        return Rows.of("waiting", [*self.approvals, *self.inputs]).df

    def close(self) -> None:
        """Removes the view from its pages and stops telling them."""
        if self.comm is not None:
            self._talk.close()
        super().close()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keeps nothing of what waits in the notebook."""
        said = "What waits for you is shown here while the kernel is there. In a terminal: `jupyter agent approve`."
        return {"text/plain": said, **self.view_bundle()}, {}


class WaitingTalk(Talk):
    """Tells the pages of one widget what waits. They decide only where this kernel may."""

    def __init__(self, client: Client, send: Send, *, may_decide: bool) -> None:
        super().__init__(client, send, may_decide=may_decide)
        self._last: bytes | None = None
        self._fault: str | None = None
        self._is_looking = False

    def _follow(self) -> None:
        self._last = None
        super()._follow()

    def _tell(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._work(self._look())

    async def _look(self) -> None:
        fault, found = None, self._last
        try:
            approvals, inputs = await _approvals(self._client), await _inputs(self._client)
            found = msgspec.json.encode({"approvals": approvals[:TOLD], "inputs": inputs[:TOLD]})
        except AgentError as refusal:
            fault = refusal.message
        finally:
            self._is_looking = False
        if not self._is_on:
            return
        if found != self._last or fault != self._fault or self._is_time_for_a_sign:
            is_known = found is not None and fault is None
            news = {"text": found.decode()} if found is not None and is_known else {}
            link = "connected" if fault is None else "waiting"
            self._say({"type": "waiting", **news, "mayDecide": self._may_decide, "link": link, "reason": fault})
            self._last, self._fault = found, fault
        self._tell_in(LOOK_S)

    async def _obey(self, command: dict[str, Any]) -> Any:
        """Decides or answers what waits in a run of one's own. Raises what the gateway refuses it for, Forbidden."""
        decided = await self._decided(understood(command, Answering))
        self._changed()
        return decided


async def _approvals(client: Client) -> list[Approval]:
    found = await _asked_of_runs(client, RunStatus.WAITING_CONFIRMATION, "approvals", Approval)
    return [approval for approval in found if approval.decision is None]


async def _inputs(client: Client) -> list[InputNeeded]:
    return await _asked_of_runs(client, RunStatus.WAITING_INPUT, "inputs", InputNeeded)


async def _asked_of_runs(client: Client, status: RunStatus, what: str, kind: type[Any]) -> list[Any]:
    """Returns what waits in the runs of this status; one that is deleted meanwhile has nothing."""
    found: list[Any] = []
    for run in await client.list_runs(limit=LISTED, status=status):
        try:
            said = await client.request("GET", f"runs/{run.run_id}/{what}")
        except NotFound:
            continue
        found.extend(msgspec.convert(said, Page[kind]).items)  # type: ignore[valid-type]
    return found
