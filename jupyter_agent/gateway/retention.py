"""REST of retention: delete one's old threads, or see what would go."""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct
from tornado import web

from ..exceptions import Forbidden, InvalidRequest
from ..journal.retention import Limits
from .rest import AgentHandler, authorized, operation
from .sweeping import Pruned


class Pruning(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may go: threads that were not changed for that many seconds, and the longest unchanged ones while the data
    folder holds more bytes. With `dryRun` nothing goes."""

    older_than_s: Annotated[float, Meta(ge=0, le=1e10)] | None = None
    larger_than: Annotated[int, Meta(ge=0, le=2**60)] | None = None
    dry_run: bool = False


class Prune(AgentHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:threads")
    @operation("Delete one's threads that were not used for long or take too much room, and blobs that nobody refers "
               "to; `dryRun` only tells", body=Pruning, answer=Pruned, faults=(403, 507))  # fmt: skip
    async def post(self) -> None:
        sent = self.sent(Pruning)
        if not self.principal.may_approve:
            raise Forbidden("Kernels may not delete threads: do it in a client that holds the server's token.")
        if sent.older_than_s is None and sent.larger_than is None:
            raise InvalidRequest(
                "Say what may go: olderThanS, largerThan or both.", details={"fields": {"olderThanS": "is missing"}}
            )
        older_than = None if sent.older_than_s is None else timedelta(seconds=sent.older_than_s)
        limits = Limits(older_than=older_than, larger_than=sent.larger_than)
        rooms = await self.rooms()
        self.reply(await rooms.sweeper.prune(limits, by=self.principal, is_dry=sent.dry_run))
