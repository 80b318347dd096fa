"""A page in which a kernel's widgets are shown: it hears what they say, and may answer, as a front end does."""

import asyncio
import json
import time
from queue import Empty
from typing import Any

from tests.notebooks.kernel import ServerKernel

UNWATCHED = "import time\nwhile {}._watchers:\n    time.sleep(0.01)\n"
"""Code that ends when nothing follows any more: what a view says to its pages ends in the client's own loop."""


class Page:
    """Hears the kernel's IOPub channel for as long as it is open. `widgets` has their state by comm id."""

    def __init__(self, kernel: ServerKernel) -> None:
        self._kernel = kernel
        self.client = kernel.client
        self.widgets: dict[str, dict[str, Any]] = {}
        self.closed: set[str] = set()
        self.said: list[tuple[float, dict[str, Any]]] = []
        self.answers: dict[str, tuple[dict[str, Any], list[bytes]]] = {}
        self.outputs: list[dict[str, Any]] = []
        self._begun: dict[tuple[str, str], str] = {}
        self.is_busy = False
        """Whether a cell is being executed."""
        self.raw: list[str] = []

    async def __aenter__(self) -> "Page":
        self._hearing = asyncio.create_task(self._hear())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hearing.cancel()
        await asyncio.wait([self._hearing])

    async def _hear(self) -> None:
        while True:
            try:
                message = await self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            content = message["content"]
            self.raw.append(json.dumps(content))
            match message["msg_type"]:
                case "comm_open":
                    self.widgets[content["comm_id"]] = dict(content["data"]["state"])
                case "comm_msg":
                    self._take(content["comm_id"], content["data"], message["buffers"])
                case "comm_close":
                    self.closed.add(content["comm_id"])
                case "update_display_data":
                    for output in self.outputs:
                        if output.get("transient", {}).get("display_id") == content["transient"]["display_id"]:
                            output["data"] = content["data"]
                case "display_data" | "execute_result" | "error":
                    self.outputs.append(content)
                case "stream":
                    self._print(message["parent_header"].get("msg_id", ""), content)
                case "status" if message["parent_header"].get("msg_type") == "execute_request":
                    self.is_busy = content["execution_state"] == "busy"
                case _:
                    pass

    def _print(self, cell: str, content: dict[str, Any]) -> None:
        """Shows whole lines: what a cell prints may come in pieces, wherever the kernel happens to flush."""
        text = self._begun.pop((cell, content["name"]), "") + content["text"]
        if text.endswith("\n"):
            self.outputs.append({**content, "text": text})
        else:
            self._begun[cell, content["name"]] = text

    def _take(self, comm_id: str, data: dict[str, Any], buffers: list[Any]) -> None:
        if data["method"] == "update":
            self.widgets.setdefault(comm_id, {}).update(data["state"])
        elif data["method"] == "custom" and data["content"]["type"] == "answer":
            self.answers[data["content"]["clientId"]] = (data["content"], [bytes(buffer) for buffer in buffers])
        elif data["method"] == "custom":
            self.said.append((time.monotonic(), data["content"]))

    # --- what it does -----------------------------------------------------------------------------------------

    def execute(self, code: str) -> None:
        """Has a cell executed, and does not wait for it."""
        self.client.execute(code)

    async def free(self) -> None:
        """Waits until everything that was asked of the main shell before has been done."""
        await self._kernel_reply(self.client.kernel_info())

    async def _kernel_reply(self, message_id: str) -> None:
        while (await self.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != message_id:
            pass

    def ask(self, comm_id: str, content: Any, *, subshell_id: str | None = None, method: str = "custom") -> None:
        """Says something to a widget, over a subshell where one is named."""
        data = {"method": method, **({"content": content} if method == "custom" else content)}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        message["header"]["subshell_id"] = subshell_id
        self.client.shell_channel.send(message)

    async def subshell(self) -> str:
        """Opens a subshell, as JupyterLab does for comms."""
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        reply = await self.client.get_control_msg(timeout=30)
        return str(reply["content"]["subshell_id"])

    def widget(self, kind: str = "run") -> str:
        """Returns the comm of the newest widget of ours of this kind."""
        return [comm_id for comm_id, state in self.widgets.items() if state.get("_kind") == kind][-1]

    # --- what it knows ----------------------------------------------------------------------------------------

    def runs(self) -> list[dict[str, Any]]:
        """Every whole run that it was told."""
        return [json.loads(said["text"]) for _, said in self.said if said["type"] == "run"]

    def frames(self) -> list[dict[str, Any]]:
        """Every event since the last of them."""
        start = max((at for at, (_, said) in enumerate(self.said) if said["type"] == "run"), default=-1)
        texts = [said["text"] for _, said in self.said[start + 1 :] if said["type"] == "frames"]
        return [json.loads(line) for text in texts for line in text.splitlines()]


async def until(condition, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this did not come true in time"
        await asyncio.sleep(0.02)
