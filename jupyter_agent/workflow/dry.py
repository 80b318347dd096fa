"""A dry pass: a script in the sandbox whose calls have only stored answers, until every branch waits for a live one."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from ..exceptions import AgentError
from ..records import Principal, new_id, utc_now
from ..script.plan import WorkflowPlan
from .calls import Calls
from .carrying import Carrying
from .limits import Limits
from .planning import Plan, PlanHost
from .sandbox import Sandbox
from .script_file import Script

LONGEST_S: Final = 60.0


class _Stuck(Exception):
    """All branches of the script wait for what a dry pass does not do."""


class _Dry(Carrying):
    """Carries a script out until every branch has stopped. It never sleeps, and never gives its worker back."""

    def __init__(self, sandbox: Sandbox, script: Script, plan: Plan, host: PlanHost, *, limits: Limits) -> None:
        super().__init__(sandbox, script, host, run_id=new_id("wfr"), began_at=utc_now(), limits=limits)
        self._plan = plan
        self._stops = host

    def _start(self, call_id: int, word: str, said: str) -> None:
        super()._start(call_id, word, "0" if word == "sleep" else said)

    async def _wait(self, snapshot: Any) -> Any:
        ids = sorted(snapshot.pending_call_ids)
        while not any(self._tasks[call_id].done() for call_id in ids):
            going = {self._tasks[call_id] for call_id in ids if call_id not in self._stops.stopped}
            if not going:
                raise _Stuck
            self._stops.news.clear()
            news = self._loop.create_task(self._stops.news.wait())
            await asyncio.wait({*going, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        return await super()._wait(snapshot)


async def dry_pass(
    sandbox: Sandbox, script: Script, calls: Calls, args: Mapping[str, Any], *, by: Principal, limits: Limits
) -> WorkflowPlan:
    """Returns what a script would do with these arguments: its calls as far as stored answers reach.

    Nothing is claimed and no call starts. What the script raises, and a dry pass of more than a minute, is said in the
    plan's `unknown`.
    """
    plan = Plan(calls, script.name, by=by)
    host = PlanHost(plan, args, script.meta, total=calls.budget.tokens)
    carrying = _Dry(sandbox, script, plan, host, limits=limits)
    try:
        async with asyncio.timeout(LONGEST_S):
            await carrying.run()
    except _Stuck:
        pass
    except TimeoutError:
        plan.unknown.append(f"The dry pass took more than {LONGEST_S:g} s and was ended: there may be more calls.")
    except AgentError as fault:
        plan.unknown.append(f"With the stored answers the script fails: {fault.message}")
    return await plan.made("script")
