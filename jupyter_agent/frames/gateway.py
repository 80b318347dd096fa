"""Facts from the gateway of this session: what `ja.runs()`, `ja.turns()` and the others read."""

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from ..client.run import Run
from ..client.session import session
from ..client.thread import Thread
from ..events import RunStarted
from ..facts.query import Wanted
from .asking import checked_time, parameters
from .many import Facts

if TYPE_CHECKING:
    import pandas as pd

    from ..client.client import Client
    from .cache import CacheShape
    from .requests import Turn


class GatewaySource:
    """All of one's runs on the server, those that go on too."""

    def table(self, wanted: Wanted) -> Any:
        import pyarrow as pa

        client = session().client
        return pa.ipc.open_stream(client.wait(client.facts(wanted.kind, **parameters(wanted)))).read_all()

    def batches(self, wanted: Wanted) -> Iterator[Any]:
        client = session().client
        # It comes to disk first: what breaks off is never taken for all there is, and whoever takes long over a batch
        # holds nothing open on the server.
        kept = tempfile.TemporaryFile(prefix="jupyter_agent-", suffix=".arrows")  # noqa: SIM115 - the batches close it
        try:
            client.wait(client.facts(wanted.kind, into=kept, **parameters(wanted)))
        except BaseException:
            kept.close()
            raise
        return _read(kept)

    def begun(self, run_id: str) -> RunStarted:
        client = session().client
        page = client.wait(client.request("GET", f"runs/{quote(run_id, safe='')}/events", query={"limit": 1}))
        return msgspec.convert(page["items"][0], RunStarted)

    def blobs(self, keys: Sequence[str]) -> list[bytes]:
        client = session().client
        found: list[bytes] = client.wait(_blobs(client, keys))
        return found


async def _blobs(client: "Client", keys: Sequence[str]) -> list[bytes]:
    return list(await asyncio.gather(*(client.request("GET", f"blobs/{key}") for key in keys)))


def _read(kept: Any) -> Iterator[Any]:
    import pyarrow as pa

    with kept:
        kept.seek(0)
        with pa.ipc.open_stream(kept) as stream:
            yield from stream


_OF_GATEWAY: Final = Facts(GatewaySource())

runs, aruns = _OF_GATEWAY.runs, _OF_GATEWAY.aruns
turns, aturns = _OF_GATEWAY.turns, _OF_GATEWAY.aturns
tool_calls, atool_calls = _OF_GATEWAY.tool_calls, _OF_GATEWAY.atool_calls
segments, asegments = _OF_GATEWAY.segments, _OF_GATEWAY.asegments
messages, amessages = _OF_GATEWAY.messages, _OF_GATEWAY.amessages
events, aevents = _OF_GATEWAY.events, _OF_GATEWAY.aevents
feedback, afeedback = _OF_GATEWAY.feedback, _OF_GATEWAY.afeedback
usage, ausage = _OF_GATEWAY.usage, _OF_GATEWAY.ausage
diff, adiff = _OF_GATEWAY.diff, _OF_GATEWAY.adiff
pass_at_k, apass_at_k = _OF_GATEWAY.pass_at_k, _OF_GATEWAY.apass_at_k


def cache(
    *,
    run: Run | str | None = None,
    thread: Thread | str | None = None,
    model: str | None = None,
    since: datetime | str | None = None,
) -> "CacheShape":
    """Returns the shape of the cache over one's runs: `.df`, `.segments` and `.what_if(…)`.

    Filters choose what is shown; each turn is compared with the request before it in its thread, shown or not. `model`
    is the turns' own. `since` is when a run was created at the earliest. Raises RunNotFound, InvalidRequest.
    """
    from .cache import CacheShape

    client, reading = _reading(run, thread, model, since)
    return CacheShape(client, *client.wait(reading))


async def acache(
    *,
    run: Run | str | None = None,
    thread: Thread | str | None = None,
    model: str | None = None,
    since: datetime | str | None = None,
) -> "CacheShape":
    """Awaits what `cache` returns."""
    from .cache import CacheShape

    client, reading = _reading(run, thread, model, since)
    return CacheShape(client, *await client.join(reading))


def _reading(
    run: Run | str | None, thread: Thread | str | None, model: str | None, since: datetime | str | None
) -> "tuple[Client, Coroutine[Any, Any, tuple[list[Turn], pd.DataFrame]]]":
    from .requests import Wanted as Prompts
    from .requests import read_turns

    client = run.client if isinstance(run, Run) else session().client
    thread_id = thread.id if isinstance(thread, Thread) else thread
    run_id, of_run = (run.id, run.thread.id) if isinstance(run, Run) else (run, None)
    found = checked_time("since", since)
    wanted = Prompts(
        run_id=run_id, of_run=of_run, thread_id=thread_id, model=model, since=found.isoformat() if found else None
    )
    return client, read_turns(client, wanted)
