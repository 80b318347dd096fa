"""The sandbox: worker processes that run scripts in Monty, an interpreter without any I/O of its own.

A worker serves one run at a time and is given to the next; each is confined before it starts (see `confined`). Without
the library there is no sandbox, and nothing runs without one.
"""

import asyncio
import json
import logging
import shlex
import shutil
import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ..exceptions import SandboxUnavailable
from . import confined
from .limits import Limits

SESSIONS_PER_WORKER: Final = 50
GRACE_S: Final = 1.0
"""How long a worker may go on past a limit of time before its process is ended."""
_INSTALL: Final = "Install it where Jupyter's server runs: pip install 'jupyter_agent[sandbox]'"
_log = logging.getLogger(__name__)


class Sandbox:
    """A pool of workers; an async context manager. `workers` is the most that work at the same time."""

    def __init__(self, *, workers: int = 4, sessions_per_worker: int = SESSIONS_PER_WORKER) -> None:
        self._workers = workers
        self._sessions = sessions_per_worker
        self._folder: Path | None = None
        self._pool: Any = None
        self.missing: tuple[str, ...] = ()
        """What of the confinement could not be had on this machine, in words."""

    async def __aenter__(self) -> "Sandbox":
        """Raises SandboxUnavailable, with what to install."""
        monty = library()
        try:
            binary = monty._binary.find_monty_binary()
        except (FileNotFoundError, RuntimeError) as fault:
            raise SandboxUnavailable(f"The sandbox's program was not found. {_INSTALL}") from fault
        self._folder = Path(tempfile.mkdtemp(prefix="jupyter-agent-sandbox-"))
        command = [sys.executable, "-I", "-S", confined.__file__]
        launcher = self._folder / "worker"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join([*command, binary])} "$@"\n')
        launcher.chmod(0o700)
        try:
            self.missing = await _missing([*command, "--missing", binary])
            self._pool = await self._started(monty, launcher)
        except (OSError, RuntimeError, monty.MontyError) as fault:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SandboxUnavailable(f"The sandbox could not be started: {fault}.") from fault
        for what in self.missing:
            _log.warning("The workflow sandbox does without %s.", what)
        return self

    async def _started(self, monty: Any, launcher: Path) -> Any:
        """Returns a pool whose first worker has answered."""
        pool = monty.AsyncMonty(
            binary_path=launcher,
            max_processes=self._workers,
            max_checkouts_per_worker=self._sessions,
            feed_duration_limit_grace=GRACE_S,
            turn_duration_limit_grace=GRACE_S,
        )
        await pool.__aenter__()
        try:
            async with pool.checkout() as session:
                await session.feed_run("1")
        except BaseException:
            await _close(pool)
            raise
        return pool

    async def __aexit__(self, *_: object) -> None:
        await _close(self._pool)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def session(
        self, limits: Limits, *, began_at: datetime, seed: str, stubs: str | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """Returns a session to enter: a worker for one run. With `stubs` whatever it is fed is checked first.

        Its clock stands at `began_at` and its randomness follows from `seed`, so that a replay goes the same way.
        """
        session: AbstractAsyncContextManager[Any] = self._pool.checkout(
            limits={
                "max_memory": limits.memory_bytes,
                "max_feed_duration_secs": limits.cell_s,
                "max_recursion_depth": limits.recursion,
                "max_suspensions": limits.suspensions,
            },
            os_policy={
                "datetime": began_at.astimezone(UTC),
                "timezone": "utc",
                "sleep": "call_host",
                "random_start": {"seed": seed},
            },
            type_check=stubs is not None,
            type_check_stubs=stubs,
            type_check_format="json",
        )
        return session


def library() -> Any:
    """Returns the sandbox's library. Raises SandboxUnavailable where it is not installed or does not run here."""
    if sys.platform == "win32":
        raise SandboxUnavailable("Workflows are carried out on Linux and macOS: the sandbox is not confined elsewhere.")
    if find_spec("pydantic_monty") is None:
        raise SandboxUnavailable(
            "No sandbox is installed, and a workflow is not carried out on the server without one. " + _INSTALL
        )
    try:
        import pydantic_monty
    except ImportError as fault:
        raise SandboxUnavailable(f"The sandbox's library cannot be loaded ({fault}). {_INSTALL}") from fault
    return pydantic_monty


async def _close(pool: Any) -> None:
    await pool.__aexit__(None, None, None)
    # The library aborts a process that ends right after its pool.
    await asyncio.sleep(0.1)


async def _missing(command: list[str]) -> tuple[str, ...]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await asyncio.wait_for(process.communicate(), 30)
    if process.returncode:
        raise RuntimeError(wrong.decode(errors="replace").strip()[-400:] or f"exit {process.returncode}")
    return tuple(json.loads(said))
