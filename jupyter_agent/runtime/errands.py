"""What is asked of runs that other processes carry out: left for them in the store, and done here when they ask us.

A client speaks to whichever server it reaches. Where that one does not carry the run out, it leaves the wish where
the one that does looks for it, and hands the answer back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from ..exceptions import AgentError, RunElsewhere, StorageError, fault_named
from ..records import Principal, new_id
from ..storage.clock import machine_clock
from ..storage.contract import Errand, Reply, RowStore

Do = Callable[[Errand], Awaitable[Mapping[str, Any] | None]]
Over = Callable[[], Awaitable[AgentError | None]]
log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5
ASK_EVERY_S: Final = 0.2
PATIENCE_S: Final = 20.0
"""How long is waited for the other process: long enough for a run to be taken over from one that died."""
CLOSE_WITHIN_S: Final = 1.0
UNDER_WAY_S: Final = 40.0
"""How long is waited for what the other process has begun."""


class Errands:
    """Passes wishes on, and does those that others pass on about what is carried out here (`run_ids`), with `do`: it
    returns what there is to say of it, and raises AgentError where it cannot."""

    def __init__(self, rows: RowStore, run_ids: Callable[[], Collection[str]], do: Do) -> None:
        self._rows = rows
        self._run_ids = run_ids
        self._do = do
        self._looking: asyncio.Task[None] | None = None
        self._doing: set[asyncio.Task[None]] = set()

    async def pass_on(
        self, run_id: str, deed: str, arguments: dict[str, Any], *, by: Principal, over: Over | None = None
    ) -> Mapping[str, Any]:
        """Has it done by whoever carries the run out, and returns when it is done what that one says of it. `over` says
        why nobody does any more.

        Raises what the other process raised; RunElsewhere when none took the errand in time: then it is not done.
        """
        errand = Errand(new_id("err"), run_id, deed, arguments, by)
        await self._rows.leave_errand(errand)
        reply = await self._reply(errand.errand_id, PATIENCE_S, over)
        if reply is None:
            if await self._rows.withdraw_errand(errand.errand_id):
                if over is not None and (fault := await over()) is not None:
                    raise fault
                raise RunElsewhere(
                    f"The server that carries run {run_id} out does not answer. Try again in a moment: if it is gone, "
                    "another one takes the run over.",
                    details={"runId": run_id},
                )
            reply = await self._reply(errand.errand_id, UNDER_WAY_S)
        if reply is None:
            raise RunElsewhere(
                f"The server that carries run {run_id} out has begun to do it and does not say what became of it. Look "
                "at the run before you try again.",
                details={"runId": run_id},
            )
        if reply.code is not None:
            raise fault_named(reply.code, reply.message, reply.details)
        return reply.details

    async def _reply(self, errand_id: str, patience_s: float, over: Over | None = None) -> Reply | None:
        until = machine_clock() + patience_s
        while True:
            is_over = over is not None and await over() is not None
            reply = await self._rows.collect_reply(errand_id)
            if reply is not None or is_over or machine_clock() > until:
                return reply
            await asyncio.sleep(ASK_EVERY_S)

    # --- for others -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begins to look for what others ask of the runs that are carried out here."""
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking(), name="errands of others")

    async def close(self) -> None:
        """Looks no more, and lets what was begun come to its end, if that is soon: the runs themselves stop next."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking, *self._doing}, timeout=CLOSE_WITHIN_S)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not (run_ids := self._run_ids()):
                continue
            try:
                found = await self._rows.take_errands(run_ids)
            except StorageError as fault:
                log.warning("What other servers ask of runs here could not be read: %s", fault)
                continue
            except Exception:
                log.exception("What another server asks of a run here was not understood.")
                continue
            for errand in found:
                task = asyncio.create_task(self._attend(errand), name=f"{errand.deed} of {errand.run_id}")
                self._doing.add(task)
                task.add_done_callback(self._doing.discard)

    async def _attend(self, errand: Errand) -> None:
        reply = Reply()
        try:
            reply = Reply(details=await self._do(errand) or {})
        except AgentError as fault:
            reply = Reply(fault.code, fault.message, fault.details)
        except Exception:
            log.exception("What another server asked of run %s failed.", errand.run_id)
            reply = Reply(AgentError.code, "Something unexpected went wrong on the server that carries the run out.")
        try:
            await self._rows.reply_to_errand(errand.errand_id, reply)
        except StorageError as fault:
            log.warning("Another server was not told what became of its wish for run %s: %s", errand.run_id, fault)
