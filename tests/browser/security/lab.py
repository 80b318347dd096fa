"""A real JupyterLab under attack: what its pages ask of the network, what runs in them, and what is on them.

Hosts below `evil.example` lead to a listener of our own, all other names lead nowhere: a connection that a page opens
for whatever reason, be it only to be ready for a click, is seen.
"""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.notebook import PATIENCE_MS
from tests.browser.security.attacks import HOST
from tests.live_server import TOKEN, LiveServer

MIME = "application/vnd.jupyter-agent.run+json"
AUDIT = (Path(__file__).parent / "audit.js").read_text()


class Outside:
    """Whatever is outside: it notes who connects, and answers nothing."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.heard)
        self.heard.append("(nothing said)")
        try:
            async with asyncio.timeout(5):
                self.heard[place] = repr(await reader.read(400))
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()

    @property
    def flags(self) -> tuple[str, ...]:
        """What has a browser find it at every address of the attacks, and nothing anywhere else."""
        rules = (f"MAP {HOST} 127.0.0.1:{self.port}", f"MAP *.{HOST} 127.0.0.1:{self.port}")
        return (f"--host-resolver-rules={', '.join(rules)}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)


class Lab:
    """One page with notebooks in it, and everything that it did."""

    def __init__(self, server: LiveServer, context: BrowserContext, page: Page, outside: Outside) -> None:
        self.server = server
        self.page = page
        self.runs = page.locator(".jp-agent-Run")
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.frames: list[str] = []
        self._outside = outside
        self.context = context
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("dialog", self._on_dialog)
        page.on("websocket", self._on_socket)

    @classmethod
    async def start(cls, server: LiveServer, browser: Browser, outside: Outside, **options: Any) -> "Lab":
        context = await browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        outside.heard.clear()
        return cls(server, context, await context.new_page(), outside)

    async def close(self) -> None:
        await self.context.close()
        for session in (await self.server.request("GET", "api/sessions"))[1]:
            await self.server.request("DELETE", f"api/sessions/{session['id']}")

    async def _on_dialog(self, dialog: Any) -> None:
        # JupyterLab's own question about what is not saved; saying no would keep the page.
        if dialog.type == "beforeunload":
            await dialog.accept()
            return
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

    def _on_socket(self, socket: Any) -> None:
        """Notes the address, and of the gateway's socket what the page says."""
        self.requests.append(socket.url)
        if "/jupyter-agent/" in socket.url:
            socket.on("framesent", lambda payload: self.frames.append(str(payload)))

    async def open(self, path: str) -> None:
        """Opens a notebook alone in its page, and waits until it is there."""
        workspace = secrets.token_hex(4)
        # From nowhere: the page before may still be busy with leaving.
        await self.page.goto("about:blank")
        await self.page.goto(f"{self.server.url}/lab/workspaces/{workspace}/tree/{path}?token={TOKEN}")
        await expect(self.page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=PATIENCE_MS)

    async def is_ready(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Widget")
        await expect(bar).to_contain_text("Python 3 (ipykernel) | Idle", timeout=PATIENCE_MS)

    async def execute_all(self) -> None:
        await self.is_ready()
        await self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    async def trusts(self) -> list[bool]:
        """Tells of each code cell whether JupyterLab takes its outputs for the user's own."""
        said = await self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.trusted)"
        )
        return [bool(one) for one in said]

    async def shows(self, count: int, *, source: str, status: str | None = None) -> None:
        """Waits for so many runs of this source and status. A run is drawn when somebody looks."""
        await expect(self.runs).to_have_count(count, timeout=PATIENCE_MS)
        for run in await self.runs.all():
            await run.scroll_into_view_if_needed()
            await expect(run).to_have_attribute("data-source", source, timeout=PATIENCE_MS)
            if status is not None:
                await expect(run).to_have_attribute("data-status", status, timeout=PATIENCE_MS)

    async def sweep(self, selector: str = ".jp-agent-Run") -> dict[str, Any]:
        """Scrolls through everything, opens all that opens, and returns what is there that should not be, and what was
        read on the way. It presses nothing that leads out or decides."""
        found = await self.page.evaluate(AUDIT, [selector, None])
        assert isinstance(found, dict)
        return found

    async def watch(self, *places: str) -> None:
        """From now on looks at everything that comes into the first run, and opens its thoughts."""
        await self.page.evaluate(AUDIT, [".jp-agent-Run", places])

    async def watched(self) -> dict[str, list[str]]:
        """Returns which attacks each place held while the run was on its way. Nothing came but our own elements."""
        found = await self.page.evaluate("() => window.__watched()")
        assert found["faults"] == [], "\n".join(found["faults"])
        return dict(found["seen"])

    async def is_unharmed(self) -> None:
        """Nothing ran, nothing asked, and nothing outside was spoken to."""
        await self.page.wait_for_timeout(300)
        assert await self.page.evaluate("() => typeof window.__pwned") == "undefined"
        assert self.dialogs == []
        assert self.foreign == []
        assert self.outside == []

    @property
    def outside(self) -> list[str]:
        """What was said to hosts of the attacks, if only by connecting to them."""
        return list(self._outside.heard)

    @property
    def foreign(self) -> list[str]:
        """Requests that leave the server."""
        own = f"127.0.0.1:{self.server.port}"
        local = ("data", "blob", "about")
        return [url for url in self.requests if urlsplit(url).netloc != own and urlsplit(url).scheme not in local]

    def asked(self, part: str) -> list[str]:
        """Returns the requests with this in their path."""
        return [url for url in self.requests if part in urlsplit(url).path]


# --- notebooks --------------------------------------------------------------------------------------------------


def unknown_id() -> str:
    """Returns the id of a run that no server knows."""
    return f"run_{secrets.token_hex(10)}"


def showing(*bundles: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns a notebook with each bundle as the output of a cell of its own, as if all were executed."""
    cells = [
        nbformat.v4.new_code_cell(
            "run", execution_count=1, outputs=[nbformat.v4.new_output("display_data", data=bundle)], metadata={}
        )
        for bundle in bundles
    ]
    return _notebook(cells, metadata)


def executing(*names: str) -> dict[str, Any]:
    """Returns a notebook whose cells, when executed, display the bundles in these files."""
    source = "import json\nfrom IPython.display import display\ndisplay(json.load(open({!r})), raw=True)"
    return _notebook([nbformat.v4.new_code_cell(source.format(name)) for name in names], None)


def _notebook(cells: list[Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return dict(nbformat.v4.new_notebook(cells=cells, metadata={**kernel, **(metadata or {})}))


def bundle(run: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Returns the output of a run, as a notebook keeps it."""
    return {MIME: {**run, **more}, "text/plain": f"run {run.get('runId')}"}


def leave(server: LiveServer, name: str, notebook: dict[str, Any]) -> str:
    """Puts a notebook there as a stranger's: JupyterLab does not trust it."""
    (server.root / name).write_text(json.dumps(notebook))
    return name


async def leave_trusted(server: LiveServer, name: str, notebook: dict[str, Any]) -> str:
    """Saves a notebook as its user would: JupyterLab trusts it when it is opened again."""
    for cell in notebook["cells"]:
        cell["metadata"]["trusted"] = True
    body = {"type": "notebook", "format": "json", "content": notebook}
    status, said = await server.request("PUT", f"api/contents/{name}", body)
    assert status in (200, 201), said
    return name


async def transcript(server: LiveServer, run_id: str) -> dict[str, Any]:
    status, run = await server.request("GET", f"jupyter-agent/api/runs/{run_id}/transcript")
    assert status == 200, run
    return dict(run)


async def ended(server: LiveServer, run_id: str) -> str:
    """Waits for the end of a run and returns its status."""
    for _ in range(10):
        _, run = await server.request("GET", f"jupyter-agent/api/runs/{run_id}?wait=20")
        if run["status"] in ("completed", "error", "interrupted"):
            return str(run["status"])
    raise AssertionError(f"The run did not end: {run}")
