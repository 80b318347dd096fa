"""`jupyter agent demo`: the tour's main job from end to end, on a Jupyter server of its own.

A server is started in a temporary home, a kernel through it, and in the kernel the `%%agent` cell of the tour. Kernels
may not approve: a second client, with the server's own token, shows each request and decides it. Nothing stays behind.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..client.client import Client
from ..client.discovery import gateway_at
from ..client.progress import Progress
from ..client.run import Run
from ..exceptions import AgentError, InvalidRequest
from ..records import Approval, InputNeeded
from .people import Desk, show_approval, show_input

PROMPT = "Which of the CSV files here has the most missing values? Plot them."
START_S = 90.0
JOB_S = 240.0
STOP_S = 15.0
DATA = Path(__file__).parents[2] / "notebooks" / "data"
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "TEMP")
"""Of the environment the server gets only these: no keys, no settings, no server's token."""
OTHERS = ("jupyterlab", "notebook", "notebook_shim", "nbclassic", "jupyter_lsp", "jupyter_server_terminals")
"""Extensions that an environment may have and that the demo does without: the server starts quicker."""

MAIN_JOB = ("%load_ext jupyter_agent", f"%%agent run\n{PROMPT}")
TABLES = """\
import pandas as pd
pd.set_option("display.width", 110, "display.max_columns", 12, "display.max_colwidth", 44)
print("\\nANSWER\\n" + run.result())
print("\\nTURNS")
turns, calls = run.turns.df, run.tool_calls.df
turns["seconds"] = turns.duration.dt.total_seconds().round(2)
calls["seconds"] = calls.latency.dt.total_seconds().round(3)
print(turns[["turn", "model", "stop_reason", "input_tokens", "output_tokens", "cache_read_tokens", "seconds"]]
      .to_string(index=False))
print("\\nTOOL CALLS")
print(calls[["turn", "name", "outcome", "decision", "seconds"]].to_string(index=False))
print("\\nUSAGE")
print(pd.DataFrame([{name: getattr(run.usage, name) for name in
      ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens", "cost")}])
      .to_string(index=False))
print(f"\\n{len(run.events.df)} events of run {run.id}: {run.status}")
"""


class DemoFailed(AgentError):
    """The demo did not get to its end."""

    code = "demo_failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the CSV files; default: the tour's own")


def main(options: argparse.Namespace) -> int:
    if not list(options.data.glob("*.csv")):
        raise InvalidRequest(f"There are no CSV files in {options.data}. Name a folder that has some with --data.")
    signal.signal(signal.SIGTERM, _stop)
    with (
        tempfile.TemporaryDirectory(prefix="jupyter-agent-demo-") as home,
        _server(Path(home), options.data) as server,
        server.client() as client,
    ):
        _job(server, client)
    return 0


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _job(server: "_Server", client: Client) -> None:
    """Runs the main job in a kernel of the server while the second client decides."""
    desk = Desk(client, _Approver(), opened=_follow)
    desk.open()
    notebook = {"type": "notebook", "name": "tour.ipynb", "path": "tour.ipynb", "kernel": {"name": "python3"}}
    session = server.request("POST", "api/sessions", notebook)
    kernel_id = session["kernel"]["id"]
    _say(f"▸ kernel {kernel_id[:8]} runs the cell:\n\n    %%agent run\n    {PROMPT}\n")
    with _connected(server.runtime / f"kernel-{kernel_id}.json") as execute:
        cell = _Cell(execute, MAIN_JOB)
        while cell.is_alive():
            desk.attend(0.2)
        cell.check()
        for line in _outputs(execute, TABLES):
            sys.stdout.write(line)
            sys.stdout.flush()
    server.request("DELETE", f"api/sessions/{session['id']}")


def _follow(run: Run) -> None:
    Progress(run, text_stream=sys.stdout, tells_how_to_decide=False)


class _Approver:
    """The second client: prints each request and says yes."""

    def decide(self, run: Run, approval: Approval) -> bool:
        show_approval(run, approval)
        _say("  approved by the second client, which holds the server's token\n")
        return True

    def answer(self, run: Run, asked: InputNeeded) -> str:
        show_input(run, asked)
        _say("  answered: yes\n")
        return "yes"


# --- the server -----------------------------------------------------------------------------------------------


class _Server:
    """A Jupyter server with its own home, workspace, port and token."""

    def __init__(self, home: Path, data: Path) -> None:
        self.runtime = home / "runtime"
        self.token = secrets.token_urlsafe(24)
        self._home = home
        self._log = home / "server.log"
        self._workspace = home / "workspace"
        shutil.copytree(data, self._workspace / "data")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Starts the process and waits until the gateway answers. Raises DemoFailed with what the server said."""
        self._port = _free_port()
        extensions = {"jupyter_agent": True} | dict.fromkeys(
            ("jupyterlab", "notebook", "nbclassic", "jupyter_lsp"), False
        )
        arguments = [
            sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self._port}", "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self._workspace}", f"--ServerApp.jpserver_extensions={extensions!r}",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                arguments, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.request("GET", "jupyter-agent/api/models")
            except OSError:
                time.sleep(0.1)
            else:
                return
        said = self._log.read_text(encoding="utf-8", errors="replace")[-4_000:]
        raise DemoFailed(f"The Jupyter server did not come up with jupyter_agent. It said:\n{said}")

    def _environment(self) -> dict[str, str]:
        folders = {"HOME": "", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data-dir", "IPYTHONDIR": "ipython",
                   "JUPYTER_RUNTIME_DIR": "runtime"}  # fmt: skip
        own = {name: str(self._home / folder) for name, folder in folders.items()}
        return {name: os.environ[name] for name in KEPT if name in os.environ} | own | {"JUPYTER_TOKEN": self.token}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Returns the decoded answer of one HTTP request. Raises OSError."""
        request = urllib.request.Request(  # noqa: S310 - an address of ours
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - an address of ours
            said = answer.read()
        return json.loads(said) if said else None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client with the server's token: it may approve."""
        client = Client(gateway_at(self.url, self.token, source="the demo"))
        try:
            yield client
        finally:
            client.close()

    def stop(self) -> None:
        """Ends the server, and with it its kernels."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _server(home: Path, data: Path) -> Iterator[_Server]:
    server = _Server(home, data)
    try:
        server.start()
        _say(f"▸ Jupyter server with jupyter_agent at {server.url}, in a home of its own")
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the kernel -----------------------------------------------------------------------------------------------


@contextmanager
def _connected(connection_file: Path) -> Iterator[Any]:
    """The kernel as a client of its own sees it: yields what executes a cell."""
    from jupyter_client.blocking.client import BlockingKernelClient

    kernel = BlockingKernelClient(connection_file=str(connection_file))
    kernel.load_connection_file()
    kernel.hb_channel.time_to_dead = START_S  # a busy machine is no dead kernel
    kernel.start_channels()
    try:
        kernel.wait_for_ready(timeout=START_S)
        yield kernel.execute_interactive
    finally:
        kernel.stop_channels()


def _outputs(execute: Any, code: str) -> list[str]:
    """Executes a cell and returns the text that it printed. Raises DemoFailed where it raised."""
    printed: list[str] = []

    def take(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = execute(code, output_hook=take, timeout=JOB_S, allow_stdin=False)["content"]
    if reply["status"] != "ok":
        raise DemoFailed(f"The cell failed: {reply.get('ename')}: {reply.get('evalue')}\n{''.join(printed)}")
    return printed


class _Cell(threading.Thread):
    """Cells that are being executed."""

    def __init__(self, execute: Any, cells: tuple[str, ...]) -> None:
        super().__init__(name="demo cell", daemon=True)
        self._execute = execute
        self._cells = cells
        self._fault: Exception | None = DemoFailed("The cell did not end.")
        self.start()

    def run(self) -> None:
        try:
            for code in self._cells:
                _outputs(self._execute, code)
        except (AgentError, TimeoutError) as fault:
            self._fault = fault
        else:
            self._fault = None

    def check(self) -> None:
        """Raises what the cell ended with."""
        self.join()
        if self._fault is not None:
            raise DemoFailed(str(self._fault))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
