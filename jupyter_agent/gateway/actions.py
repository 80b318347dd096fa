"""What commands do: the one place where the socket meets the runner. Each is authorised, and acts once a client id."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, assert_never

import msgspec

from ..exceptions import BlobNotFound, Forbidden, InvalidRequest, RunFinished, RunNotFound
from ..journal import Journal
from ..journal.rows import row_of
from ..protocol import commands
from ..protocol.commands import AnyCommand
from ..records import ID_PATTERN, Decision, ForkRequest, Principal, Run, RunRequest, RunStatus
from ..runtime import Runner
from ..storage import Storage
from .auth import Action
from .changes import Changes
from .client_tools import ClientTools
from .once import MAX_CLIENT_ID_CHARS, Once
from .sniffing import is_digest
from .stream import RunStream
from .telling import Telling

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")
Wish = TypeVar("Wish", RunRequest, ForkRequest)

NEEDS: Final[dict[type, tuple[Action, str]]] = {
    commands.Follow: ("read", "runs"),
    commands.Resume: ("read", "runs"),
    commands.StartRun: ("execute", "runs"),
    commands.Interrupt: ("execute", "runs"),
    commands.ToolConfirmation: ("execute", "approvals"),
    commands.UserInput: ("execute", "inputs"),
    commands.ClientToolResult: ("execute", "tools"),
    commands.ClientToolProgress: ("execute", "tools"),
}
"""What the server's authorizer is asked for a command. The others only concern the socket itself."""

REPLAY: Final = "replay:"
SEARCHED_RUNS: Final = 200
CLIENT_ID: Final = "clientId"
"""Where a run's metadata keeps the id of the command that started it."""

_is_id: Final = re.compile(ID_PATTERN).fullmatch


class Actions:
    """Carries commands out against the open rooms of the server."""

    def __init__(
        self,
        *,
        storage: Storage,
        journal: Journal,
        runner: Runner,
        changes: Changes,
        client_tools: ClientTools,
        reverify_every_s: float,
        stalled_after_s: float,
    ) -> None:
        self.storage = storage
        self.journal = journal
        self.runner = runner
        self.telling = Telling(journal)
        self.changes = changes
        self.client_tools = client_tools
        self.reverify_every_s = reverify_every_s
        self.stalled_after_s = stalled_after_s
        self._once = Once()
        self._tasks: set[asyncio.Task[None]] = set()

    def own(self, work: Coroutine[Any, Any, None]) -> None:
        """Takes over work that must be done though its socket may close meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, *, timeout_s: float) -> None:
        """Waits for what was taken over, and cancels what is left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()

    # --- runs -----------------------------------------------------------------------------------------------

    async def get_run(self, run_id: str, *, by: Principal) -> Run:
        """Returns one's run. Raises RunNotFound, for what is no id too: nothing is looked up for it."""
        if not _is_id(run_id):
            raise RunNotFound(f"There is no run {run_id[:128]!r}.")
        return self.fresh(await self.storage.rows.get_run(run_id, by=by))

    def fresh(self, run: Run) -> Run:
        """Returns a run's row as its journal has it now: rows are written a moment later."""
        live = self.journal.transcript(run.run_id)
        return run if live is None or live.started is None else row_of(live, run)

    async def join(self, run: Run, *, timeout_s: float) -> None:
        """Returns when the run's last event is there, or after the time-out."""
        live = self.journal.transcript(run.run_id)
        if live is None and run.status.is_terminal:
            return
        after = live.last_event_id if live else None
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.journal.follow(run.run_id, after=after or None):
                    pass
        except (TimeoutError, RunNotFound):
            return

    async def once(self, client_id: str | None, by: Principal, deed: Callable[[], Awaitable[T]]) -> T:
        """Does it once a client id, whichever way that comes. Raises what the deed raises."""
        check_client_id(client_id)
        result: T = await self._once.do(by, client_id, deed)
        return result

    async def interrupt(self, run_id: str, *, by: Principal, if_queued: bool = False) -> Run:
        """Stops a run at once. Raises RunNotFound, RunFinished for one that ended by itself, and with `if_queued`
        RunActive for one that has begun."""
        await self.get_run(run_id, by=by)
        try:
            run = await self.runner.interrupt(run_id, by=by, if_queued=if_queued)
        except RunFinished:
            run = await self.get_run(run_id, by=by)
        if run.status.is_terminal and run.status is not RunStatus.INTERRUPTED:
            raise RunFinished(f"Run {run_id} is over: it ended as {run.status}.", details={"status": run.status})
        return run

    async def start(self, request: RunRequest, *, by: Principal, client_id: str | None = None) -> Run:
        """Starts a run, once a client id. Raises what the runner raises, and Forbidden."""
        await self._check_references(request, by=by)
        if request.policy is not None and not by.may_approve:
            raise Forbidden(
                "Kernels may not choose a policy: start the run without one, or let the operator set "
                "AgentGateway.allow_kernel_approvals."
            )
        return await self._begin(request, partial(self.runner.start, by=by), by=by, client_id=client_id)

    async def fork(self, run_id: str, wish: ForkRequest, *, by: Principal, client_id: str | None = None) -> Run:
        """Starts a run that begins before a turn of another one, once a client id. Raises what the runner raises."""
        await self.get_run(run_id, by=by)
        await self._check_references(RunRequest(input=wish.input or (), model=wish.model), by=by)
        return await self._begin(wish, partial(self.runner.fork, run_id, by=by), by=by, client_id=client_id)

    async def _begin(
        self, wish: Wish, deed: Callable[[Wish], Awaitable[Run]], *, by: Principal, client_id: str | None
    ) -> Run:
        """Has the deed begin a run, once a client id, which the run's metadata keep."""
        check_client_id(client_id)
        if client_id is None:
            return await deed(wish)

        async def once() -> Run:
            if (earlier := await self._started_before(client_id, by=by)) is not None:
                return earlier
            return await deed(msgspec.structs.replace(wish, metadata={**wish.metadata, CLIENT_ID: client_id}))

        run: Run = await self._once.do(by, f"start {client_id}", once)
        return run

    async def _check_references(self, request: RunRequest, *, by: Principal) -> None:
        """What a request names belongs to who asks: recordings, earlier runs, attachments. Raises NotFound."""
        named = (request.model or "").removeprefix(REPLAY) if (request.model or "").startswith(REPLAY) else ""
        for run_id in (named, request.follow_up_to_run_id):
            if run_id and not is_digest(run_id):
                await self.get_run(run_id, by=by)
        parts = () if isinstance(request.input, str) else request.input
        for key in filter(None, (named if is_digest(named) else None, *(part.blob for part in parts))):
            if not is_digest(key) or not await self.storage.rows.blob_is_referred_to(key, by=by):
                raise BlobNotFound(f"There is no blob {key[:64]!r}. Put the attachment first: POST blobs.")

    async def _started_before(self, client_id: str, *, by: Principal) -> Run | None:
        """Finds the run that this command started before the server was restarted, among the newest."""
        page = await self.storage.rows.list_runs(by=by, limit=SEARCHED_RUNS)
        return next((run for run in page.items if run.metadata.get(CLIENT_ID) == client_id), None)

    def stream(self, run: Run, *, by: Principal, after: str | None, channels: Any = None) -> RunStream:
        """Returns the frames of a run."""
        return RunStream(run, journal=self.journal, rows=self.storage.rows, by=by, after=after, channels=channels)

    # --- commands of the socket -----------------------------------------------------------------------------

    async def act(self, command: AnyCommand, connection: "Connection") -> Any:
        """Carries a command out and returns what its `ack` carries. Raises AgentError."""
        if (needed := NEEDS.get(type(command))) is not None:
            await connection.check(*needed)
        by = connection.principal
        match command:
            case commands.Auth() | commands.Heartbeat() | commands.Resume():
                return await self._plain(command, connection)
            case commands.Follow():
                return await self._follow(command, connection)
            case commands.Unfollow():
                return connection.unfollow(command.run_id)
            case commands.StartRun():
                return await self._start(command, connection)
            case commands.Interrupt():
                run_id = _run_id(command.run_id, connection)
                deed = partial(self.interrupt, run_id, by=by, if_queued=command.if_queued)
                return await self.once(command.client_id, by, deed)
            case commands.ToolConfirmation():
                run_id = _run_id(command.run_id, connection)
                return await self.once(command.client_id, by, lambda: self._confirm(command, run_id, by=by))
            case commands.UserInput():
                run_id = _run_id(command.run_id, connection)
                return await self.once(command.client_id, by, lambda: self._answer(command, run_id, by=by))
            case commands.ClientToolResult():
                await self.get_run(command.run_id, by=by)
                return self.client_tools.take_result(command)
            case commands.ClientToolProgress():
                await self.get_run(command.run_id, by=by)
                return self.client_tools.take_progress(command)
            case _:
                assert_never(command)

    async def _plain(self, command: AnyCommand, connection: "Connection") -> None:
        if isinstance(command, commands.Heartbeat):
            connection.acknowledge_heartbeat()
        elif isinstance(command, commands.Resume):
            raise InvalidRequest("This socket names no run in its address (chatKey): use `follow` instead of `resume`.")

    async def _follow(self, command: commands.Follow, connection: "Connection") -> None:
        if command.run_id == "*":
            connection.listen()
            return
        by = connection.principal
        run = await self.get_run(command.run_id, by=by)
        after = command.last_event_id or None
        connection.follow(self.stream(run, by=by, after=after, channels=command.channels))
        self.client_tools.offer(run.run_id, command.tools, connection)

    async def _start(self, command: commands.StartRun, connection: "Connection") -> Run:
        by = connection.principal
        fields = {name: getattr(command, name) for name in RunRequest.__struct_fields__}
        run = await self.start(RunRequest(**fields), by=by, client_id=command.client_id)
        if command.follow and not connection.follows(run.run_id):
            connection.follow(self.stream(run, by=by, after=None))
            names = [tool.name for tool in command.client_tools] + (["run_cell"] if command.waits else [])
            self.client_tools.offer(run.run_id, tuple(names), connection)
        return run

    async def _confirm(self, command: commands.ToolConfirmation, run_id: str, *, by: Principal) -> Any:
        await self.get_run(run_id, by=by)
        decision = Decision.REJECT
        if command.approved:
            decision = Decision.APPROVE if command.arguments is None else Decision.EDIT
        return await self.runner.resolve(
            run_id,
            decision=decision,
            by=by,
            approval_id=command.approval_id,
            tool_call_id=command.tool_call_id,
            arguments=command.arguments if command.approved else None,
            reason=command.reason,
            remember=command.remember,
        )

    async def _answer(self, command: commands.UserInput, run_id: str, *, by: Principal) -> None:
        await self.get_run(run_id, by=by)
        await self.runner.answer(run_id, command.request_id, command.content, by=by)


def check_client_id(client_id: str | None) -> None:
    """Raises InvalidRequest for a client id that cannot be kept."""
    if client_id is not None and not 0 < len(client_id) <= MAX_CLIENT_ID_CHARS:
        raise InvalidRequest(
            f"A clientId has 1 to {MAX_CLIENT_ID_CHARS} characters; this one has {len(client_id)}.",
            details={"fields": {"clientId": "length"}},
        )


def _run_id(named: str | None, connection: "Connection") -> str:
    run_id = named or connection.own_run_id
    if run_id is None:
        raise InvalidRequest(
            "This socket names no run in its address (chatKey), so the command must name one: add `runId`.",
            details={"fields": {"runId": "missing"}},
        )
    return run_id
