"""A real `jupyter server` with the extension, in a process and a home of its own, for what is tried from outside."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

TOKEN = "token-of-the-tests"
START_TIMEOUT_S = 60.0
OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook_shim", "notebook")
"""Extensions that an environment may have and that these servers do without: they start quicker."""
SLOW_MODULE = "rfc3987_syntax"
"""An optional part of jsonschema that parses a grammar for two seconds when it is imported; nobody needs it here."""


class LiveServer:
    """Start it, talk to it over REST and sockets, kill it, start it again: the same port, home and token."""

    def __init__(
        self,
        home: Path,
        *,
        options: tuple[str, ...] = (),
        extensions: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        base_url: str = "/",
    ) -> None:
        self.home = home
        self.root = home / "root"
        self.log = home / "server.log"
        self.port = free_port()
        self.token = TOKEN
        self._without = home / "without"
        self.base_url = base_url
        self._options = options
        self._extensions = dict.fromkeys(OTHERS, False) | dict.fromkeys(("jupyter_agent", *extensions), True)
        self.environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._http = AsyncHTTPClient(force_instance=True, max_clients=100)

    async def __aenter__(self) -> "LiveServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._http.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base_url.rstrip('/')}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts the process and waits until the extension answers."""
        await self.launch()
        if not await self.ready():
            await self.stop()
            raise RuntimeError(f"The server did not start. It said:\n{self.log.read_text()[-4000:]}")

    async def ready(self) -> bool:
        """Waits until the extension answers; False when the process ended, came up without the extension, or does not
        answer well in a minute."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process.returncode is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                status, _ = await self.request("GET", "jupyter-agent/api/health")
                if status in (200, 404):
                    return status == 200
            await asyncio.sleep(0.05)
        return False

    async def launch(self) -> None:
        """Starts the process and does not wait for it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._without.mkdir(exist_ok=True)
        (self._without / f"{SLOW_MODULE}.py").write_text("raise ImportError\n")
        arguments = [
            str(Path(sys.executable).with_name("jupyter-server")),
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.base_url={self.base_url}",
            f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.jpserver_extensions={self._extensions!r}",
            *self._options,
        ]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *arguments, env=self._env(), stdout=log, stderr=log, start_new_session=True
            )

    def _env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "IPYTHONDIR": str(self.home / "ipython"),
            **self.environment,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self._without), self.environment.get("PYTHONPATH")])),
        }

    async def kill(self) -> None:
        """SIGKILL to the server alone: nothing is said, nothing is finished."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def died(self, *, within_s: float) -> bool:
        """Tells whether the process ended by itself in this time."""
        assert self._process is not None
        if self._process.returncode is not None:
            return True
        try:
            await asyncio.wait_for(self._process.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Asks the server to end, and ends it with whatever it left after ten seconds."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Returns status and body. Raises OSError when nobody listens."""
        request = HTTPRequest(
            f"{self.url}/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            request_timeout=60,
        )
        try:
            response = await self._http.fetch(request, raise_error=False)
        except HTTPClientError as fault:
            raise ConnectionError(f"The server did not answer: {fault}") from fault
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.code, json.loads(response.body) if is_json and response.body else response.body

    async def start_run(self, script: Any, **more: Any) -> str:
        """Starts a run of the scripted model and returns its id."""
        body = {"input": "Play the script.", "model": "scripted", "script": script, **more}
        status, run = await self.request("POST", "jupyter-agent/api/runs", body)
        assert status == 201, run
        return str(run["runId"])

    async def run(self, run_id: str) -> dict[str, Any]:
        status, run = await self.request("GET", f"jupyter-agent/api/runs/{run_id}")
        assert status == 200, run
        return dict(run)


def free_port() -> int:
    """Returns a port that nobody has, below those that the system gives to outgoing connections: one of those could be
    gone before the server comes to it. Chosen by the system's chance, since trials seed Python's own all alike."""
    while True:
        port = 12_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
