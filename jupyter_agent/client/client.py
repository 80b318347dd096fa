"""The gateway from Python: starts and opens runs, lists what there is, sends commands.

Every call has a twin that starts with `a` and is awaited instead.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlencode
from weakref import WeakSet, WeakValueDictionary

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse

from .. import records
from ..exceptions import AgentError, ConnectionLost, InvalidRequest, NotFound, RunNotFound, Unauthenticated, fault_named
from ..protocol import commands, control
from .behind import Behind
from .bench import Bench
from .discovery import Gateway, find_gateway
from .feed import Feed
from .kept import Answer, Kept
from .loop import LoopThread
from .rows import Rows
from .tool import ClientTool
from .transport import Timing, Transport, refusal

T = TypeVar("T")

REQUEST_TIMEOUT_S = 45.0
PROBE_TIMEOUT_S = 3.0
FACTS_TIMEOUT_S = 600.0
LAST_WORDS_S = 3.0
"""How long a client that is closed waits for what is still to be told; it is on disk, and told by the next one else."""
LONGEST_PATH = 60_000
"""Bytes, with its query. Tornado reads 65,536 of a request's head, and hangs up on more without an answer."""
FORK_AGAIN_S = (0.5, 2.0)
PAGE = 200
PRICED_AT_ONCE = 2_000
SEARCHED_CHARS = 200


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A model that the server offers; `advice` says what to do where it is not `ready`."""

    name: str
    provider: str = ""
    description: str = ""
    offline: bool = False
    ready: bool = True
    advice: str | None = None


class _Fault(msgspec.Struct):
    code: str
    message: str
    details: dict[str, Any] = {}


class Client:
    """One gateway, one socket, many runs. Without a gateway it finds its own (see discovery)."""

    def __init__(self, gateway: Gateway | None = None, *, timing: Timing | None = None) -> None:
        self._fixed = gateway
        self._found: Gateway | None = None
        self._threads = LoopThread()
        self._http: AsyncHTTPClient | None = None
        self._kept = Kept()
        self._behind: WeakSet[Behind] = WeakSet()
        self._feeds: WeakValueDictionary[str, Feed] = WeakValueDictionary()
        self.transport = Transport(self._locate, timing=timing)
        self.bench = Bench(self.send)

    def __repr__(self) -> str:
        where = self._fixed or self._found
        return f"<Client {where.url if where else 'not connected yet'} · {self.transport.link}>"

    @property
    def url(self) -> str:
        """The address of the gateway's server; empty before it is found."""
        where = self._fixed or self._found
        return where.url if where is not None else ""

    # --- loops ------------------------------------------------------------------------------------------------

    @property
    def threads(self) -> LoopThread:
        """The thread of that loop."""
        return self._threads

    def is_here(self) -> bool:
        """Tells whether this is the thread in which everything of this client happens: nothing may block it."""
        return self._threads.is_here

    @property
    def threads_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which everything of this client happens."""
        return self._threads.loop

    def wait(self, work: Any) -> Any:
        """Blocks for a coroutine of this client."""
        return self._threads.wait(work)

    async def join(self, work: Any) -> Any:
        """Awaits a coroutine of this client from any other loop."""
        return await self._threads.join(work)

    def submit(self, work: Any) -> Future[Any]:
        """Runs a coroutine of this client; cancelling what is returned cancels it."""
        return self._threads.submit(work)

    def send(self, command: commands.AnyCommand) -> None:
        """Sends a command without waiting for its answer; a refusal says nothing that anybody could use."""
        self._threads.call(self._send_soon, command)

    def _send_soon(self, command: commands.AnyCommand) -> None:
        task = asyncio.get_running_loop().create_task(self.transport.command(command))
        task.add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    def close(self) -> None:
        """Closes the connection. Runs go on; the client can be used again."""
        try:
            self.wait(self._ended())
        finally:
            self._threads.call(self._kept.close)
            if self._http is not None:
                self._threads.call(self._http.close)
                self._http = None
            self._threads.close()

    def told_behind(self, behind: Behind) -> Behind:
        """Has what is told behind the code that goes on told before this client is closed."""
        self._behind.add(behind)
        return behind

    async def _ended(self) -> None:
        for behind in tuple(self._behind):
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await behind.close()
        await self.transport.close()

    # --- finding ----------------------------------------------------------------------------------------------

    async def _locate(self) -> Gateway:
        self._found = self._fixed or await find_gateway(self._probe, before=self._found)
        return self._found

    async def _probe(self, gateway: Gateway) -> bool:
        """Tells whether a gateway answers there and takes the token."""
        try:
            answer = await self._fetch(gateway, "GET", "models", timeout_s=PROBE_TIMEOUT_S)
        except (OSError, HTTPError):
            return False
        if answer.code in {401, 403}:
            raise Unauthenticated(f"The server at {gateway.url} refused the token from {gateway.source}.")
        return answer.code == 200

    # --- REST -------------------------------------------------------------------------------------------------

    async def _fetch(
        self,
        gateway: Gateway,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        key: str | None = None,
        into: BinaryIO | None = None,
        may_repeat: bool = False,
        timeout_s: float,
    ) -> HTTPResponse | Answer:
        if self._http is None:
            # It is one's own server: a frame may be as large as what there is.
            self._http = AsyncHTTPClient(force_instance=True, max_body_size=2**40)
        headers = {"Content-Type": "application/json"}
        if gateway.token:
            headers["Authorization"] = f"token {gateway.token}"
        if key is not None:
            headers["Idempotency-Key"] = key

        if may_repeat and into is None and Kept.can_reach(gateway.api_url):
            return await self._kept.fetch(
                method, gateway.api_url + path, headers=headers, body=body, timeout_s=timeout_s
            )

        def take(chunk: bytes) -> None:
            if into is not None:
                into.write(chunk)

        request = HTTPRequest(
            gateway.api_url + path, method=method, headers=headers, body=body, connect_timeout=min(10.0, timeout_s),
            request_timeout=timeout_s, follow_redirects=False, allow_nonstandard_methods=True,
            streaming_callback=take if into is not None else None,
        )  # fmt: skip
        return await self._http.fetch(request, raise_error=False)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        into: BinaryIO | None = None,
        may_repeat: bool = False,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Any:
        """Returns the decoded JSON answer of one REST call, its bytes where it is not JSON; `into` takes them as they
        come instead. With a `key` the same call sent again acts once; one that acts once without it (`may_repeat`) goes
        over a connection that is kept.

        Runs in the client's loop. Raises the gateway's fault, ConnectionLost where nothing answers, InvalidRequest for
        a query too long to be sent.
        """
        gateway = self._found or await self._locate()
        if query := {name: value for name, value in (query or {}).items() if value is not None}:
            path = f"{path}?{urlencode(query)}"
        if len(path) > LONGEST_PATH:
            raise InvalidRequest(
                f"The question is {len(path):,} bytes long as an address, more than the {LONGEST_PATH:,} that a server "
                "reads. Use fewer or shorter filters, and choose among the rows yourself."
            )
        encoded = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._fetch(
                gateway, method, path, body=encoded, key=key, into=into, may_repeat=may_repeat, timeout_s=timeout_s
            )
        except (OSError, HTTPError) as gone:  # nobody there, or gone in the middle of the answer
            self._found = None if self._fixed is None and self.transport.link != "connected" else self._found
            raise ConnectionLost(
                f"The gateway at {gateway.url} cannot be reached: {gone}. Check that the Jupyter server is running."
            ) from gone
        if into is not None and answer.code >= 300:
            into.seek(0)
            return self._answer(answer, into.read(), gateway)
        return self._answer(answer, answer.body, gateway)

    def _answer(self, answer: HTTPResponse | Answer, body: bytes, gateway: Gateway) -> Any:
        if answer.code < 300:
            is_json = answer.headers.get("Content-Type", "").startswith("application/json")
            return msgspec.json.decode(body) if is_json else body
        if answer.code == 599:
            raise ConnectionLost(f"The gateway at {gateway.url} did not answer: {answer.error}. Try again.")
        try:
            said = msgspec.json.decode(body, type=_Fault)
        except msgspec.DecodeError:
            raise refusal(answer.code, gateway) or AgentError(
                f"The server at {gateway.url} answered with HTTP {answer.code}. Look into its log."
            ) from None
        raise fault_named(said.code, said.message, said.details)

    async def pages(self, path: str, kind: Any, *, limit: int, **query: Any) -> list[Any]:
        """Returns up to `limit` items of a keyset-paged list, converted to `kind`."""
        items: list[Any] = []
        cursor: str | None = None
        while len(items) < limit:
            page = await self.request(
                "GET", path, query={"limit": min(PAGE, limit - len(items)), "cursor": cursor, **query}
            )
            items += msgspec.convert(page.get("items", ()), list[kind])
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return items

    # --- runs -------------------------------------------------------------------------------------------------

    async def start(self, request: records.RunRequest) -> records.Run:
        """Starts a run and returns its record. Raises the gateway's fault; a lost answer is asked for again."""
        fields = {name: getattr(request, name) for name in request.__struct_fields__}
        made = await self.transport.command(commands.StartRun(**fields, follow=False))
        return msgspec.convert(made, records.Run)

    async def fork(self, run_id: str, wish: records.ForkRequest) -> records.Run:
        """Starts a run that begins before a turn of this one and returns its record. Raises the gateway's fault; a
        lost answer is asked for again."""
        path, key = f"runs/{quote(run_id, safe='')}/fork", f"f_{secrets.token_hex(10)}"
        for pause_s in FORK_AGAIN_S:
            try:
                return msgspec.convert(await self.request("POST", path, body=wish, key=key), records.Run)
            except ConnectionLost:
                await asyncio.sleep(pause_s)
        return msgspec.convert(await self.request("POST", path, body=wish, key=key), records.Run)

    async def record(self, run_id: str) -> records.Run:
        """Returns the record of a run. Raises RunNotFound."""
        try:
            return msgspec.convert(await self.request("GET", f"runs/{quote(run_id, safe='')}"), records.Run)
        except RunNotFound as missing:
            advice = "ja.runs() lists yours; an id looks like run_0123456789abcdef0123."
            raise RunNotFound(f"{missing.message} {advice}") from None

    def feed(self, run_id: str, tools: Mapping[str, ClientTool[Any, Any]]) -> Feed:
        """Returns the run as it comes in, followed from its first event: the same feed for whoever asks, for as long as
        somebody has it. A second one would take its news away."""
        if (feed := self._feeds.get(run_id)) is not None and feed.fault is None:
            return feed
        known = dict(tools)

        def on_call(frame: control.ClientToolCall | control.ClientToolCancelled) -> None:
            if isinstance(frame, control.ClientToolCall):
                self.bench.take(frame, known)
            else:
                self.bench.cancel(frame)

        feed = Feed(run_id, tools=tuple(known), on_call=on_call, on_end=lambda: self.transport.unfollow(run_id))
        self._feeds[run_id] = feed
        self.refollow(feed)
        return feed

    def refollow(self, feed: Feed) -> None:
        """Tells the gateway what this feed can carry out now, and goes on following it."""
        self._threads.call(self.transport.follow, feed.run_id, feed)

    # --- lists ------------------------------------------------------------------------------------------------

    async def list_runs(
        self, *, limit: int, thread: str | None = None, status: str | None = None, since: datetime | None = None
    ) -> Rows[records.Run]:
        runs = await self.pages(
            "runs", records.Run, limit=limit, threadId=thread, status=status,
            since=since.isoformat() if since else None,
        )  # fmt: skip
        return Rows.of("runs", runs)

    async def facts(self, kind: str, *, into: BinaryIO | None = None, **filters: Any) -> bytes:
        """Returns the facts of many runs as an Arrow stream, or writes it into a file; `kind` is runs, turns,
        tool_calls, segments, messages, events or feedback."""
        data: bytes = await self.request("GET", f"frames/{kind}", query=filters, into=into, timeout_s=FACTS_TIMEOUT_S)
        return data

    async def costs(self, uses: Sequence[tuple[str, records.Usage]]) -> list[float | None]:
        """Returns what these tokens of these models (`provider:model`) cost, in US dollars; None where a price is
        unknown."""
        costs: list[float | None] = []
        for start in range(0, len(uses), PRICED_AT_ONCE):
            items = [{"model": model, "usage": usage} for model, usage in uses[start : start + PRICED_AT_ONCE]]
            costs += (await self.request("POST", "costs", body={"items": items}))["items"]
        return costs

    async def rate(self, run_id: str, rating: int, **more: str | None) -> records.Feedback:
        """Rates a run, or a message of it. Raises InvalidRequest for what is not +1 or -1."""
        if rating not in (1, -1):
            raise InvalidRequest(f"A rating is +1 or -1, not {rating!r}.")
        body = {"rating": rating} | {name: value for name, value in more.items() if value is not None}
        said = await self.request("POST", f"runs/{quote(run_id, safe='')}/feedback", body=body)
        return msgspec.convert(said, records.Feedback)

    async def list_threads(
        self, *, limit: int, search: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Rows[records.Thread]:
        said = {f"metadata.{key}": _as_text(key, value) for key, value in (metadata or {}).items()}
        return Rows.of("threads", await self.pages("threads", records.Thread, limit=limit, search=search, **said))

    async def gateway_id(self) -> str:
        """Returns the id by which this gateway is told from others; it is no secret, and another after a restart."""
        return str((await self.request("GET", "health")).get("gatewayId", ""))

    async def list_models(self) -> Rows[ModelInfo]:
        said = await self.request("GET", "models")
        return Rows.of("models", msgspec.convert(said.get("items", said.get("models", ())), list[ModelInfo]))

    async def find_thread(self, name: str) -> records.Thread:
        """Returns the thread with this id or title, made with that title where there is none."""
        try:
            return msgspec.convert(await self.request("GET", f"threads/{quote(name, safe='')}"), records.Thread)
        except NotFound:
            pass
        for thread in await self.list_threads(limit=10_000, search=name[:SEARCHED_CHARS]):
            if thread.title == name:
                return thread
        return await self.create_thread(name)

    async def create_thread(self, title: str | None = None) -> records.Thread:
        return msgspec.convert(
            await self.request("POST", "threads", body={"title": title} if title else {}), records.Thread
        )


def _as_text(key: str, value: Any) -> str:
    """Returns a value of metadata as the gateway compares it. Raises InvalidRequest for what is no plain value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise InvalidRequest(f"Threads are chosen by a text, a number or a truth value of {key!r}, not by {value!r}.")
