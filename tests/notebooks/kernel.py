"""A kernel under a real server, and the second client that decides what the kernel may not."""

import asyncio
import threading
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient

from jupyter_agent.cli.people import Desk
from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.run import Run
from jupyter_agent.records import Approval, InputNeeded
from tests.live_server import TOKEN, LiveServer


class ServerKernel:
    """The kernel of a notebook's session; cells are executed as a front end does."""

    def __init__(self, server: LiveServer, notebook: str) -> None:
        self._server = server
        self._notebook = notebook
        self.outputs: list[dict[str, Any]] = []

    async def __aenter__(self) -> "ServerKernel":
        body = {
            "type": "notebook", "name": self._notebook, "path": self._notebook, "kernel": {"name": "python3"}
        }  # fmt: skip
        status, session = await self._server.request("POST", "api/sessions", body)
        assert status == 201, session
        self._session_id = session["id"]
        self.kernel_id = session["kernel"]["id"]
        self.client = AsyncKernelClient()
        self.client.load_connection_file(str(self._server.home / "runtime" / f"kernel-{self.kernel_id}.json"))
        self.client.hb_channel.time_to_dead = 60.0  # a busy machine is no dead kernel
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=60)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.stop_channels()
        await self._server.request("DELETE", f"api/sessions/{self._session_id}")

    async def execute(self, code: str, timeout_s: float = 90.0, **more: Any) -> dict[str, Any]:
        """Returns the reply of one cell; `outputs` has what the notebook shows, updates applied."""
        self.outputs = []
        reply = await asyncio.wait_for(
            self.client.execute_interactive(code, output_hook=self._take, timeout=timeout_s, **more), timeout_s + 5
        )
        return dict(reply["content"])

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for output in self.outputs:
                if output.get("transient", {}).get("display_id") == content["transient"]["display_id"]:
                    output["data"] = content["data"]
        elif kind not in {"status", "execute_input"}:
            self.outputs.append({"type": kind, **content})

    async def interrupt(self) -> None:
        await self._server.request("POST", f"api/kernels/{self.kernel_id}/interrupt")

    def text(self) -> str:
        """What the cell printed."""
        return "".join(output["text"] for output in self.outputs if output["type"] == "stream")

    def shown(self, mime: str) -> list[str]:
        """What it displayed of one MIME type."""
        return [output["data"][mime] for output in self.outputs if mime in output.get("data", {})]


class Yes:
    """Approves everything, answers every question with Porto, and keeps what it saw."""

    def __init__(self) -> None:
        self.approvals: list[Approval] = []
        self.questions: list[str] = []

    def decide(self, _run: Run, approval: Approval) -> bool:
        self.approvals.append(approval)
        return True

    def answer(self, _run: Run, asked: InputNeeded) -> str:
        self.questions.append(asked.prompt)
        return "Porto"


class SecondClient:
    """Holds the server's token and decides in a thread of its own."""

    def __init__(self, server: LiveServer) -> None:
        self.person = Yes()
        self.client = Client(gateway_at(server.url, TOKEN, source="the test"))
        self._desk = Desk(self.client, self.person)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        self._desk.open()
        while not self._is_over.is_set():
            self._desk.attend(0.1)

    async def __aenter__(self) -> Yes:
        self._thread.start()
        return self.person

    async def __aexit__(self, *_: object) -> None:
        self._is_over.set()
        await asyncio.to_thread(self._thread.join, 10)
        await asyncio.to_thread(self.client.close)
