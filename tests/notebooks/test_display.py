"""What stays of a run in a notebook: one display, renewed calmly, then saved and exported, with nothing that acts."""

import asyncio
import itertools
import json
import time
from html.parser import HTMLParser
from queue import Empty

import nbclient
import nbconvert
import nbformat
import pytest

from jupyter_agent.compact import KEPT_BYTES
from jupyter_agent.display import MIME_TYPE
from jupyter_agent.widgets.live import MOST_VIEWS
from tests.ground.test_display import ATTACKS, Tags
from tests.live_server import TOKEN
from tests.notebooks.test_kernel_side import LOAD

PICTURE = (
    "from IPython.display import Image, display\nimport base64\n"
    "display(Image(data=base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')))"
)


class Cells:
    """Hears everything that a kernel says, each message with its time and the request that it belongs to."""

    def __init__(self, kernel) -> None:
        self._client = kernel.client
        self.heard = []

    async def __aenter__(self):
        self._hearing = asyncio.create_task(self._hear())
        return self

    async def __aexit__(self, *_):
        self._hearing.cancel()
        await asyncio.wait([self._hearing])

    async def _hear(self):
        while True:
            try:
                message = await self._client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            self.heard.append((time.monotonic(), message))

    async def execute(self, code, *, cell_id=None):
        """Sends a cell and returns the request's id; `cell_id` is how a front end names the cell."""
        if cell_id is None:
            return self._client.execute(code)
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = self._client.session.msg("execute_request", content, metadata={"cellId": cell_id})
        self._client.shell_channel.send(message)
        return message["header"]["msg_id"]

    async def done(self, cell, timeout_s=60):
        """Waits until a cell has been executed."""
        async with asyncio.timeout(timeout_s):
            while True:
                reply = await self._client.get_shell_msg(timeout=timeout_s)
                if reply["parent_header"].get("msg_id") == cell:
                    assert reply["content"]["status"] == "ok", reply["content"]
                    return

    def of(self, mime):
        """What was shown of a MIME type: time, kind of message, cell, content."""
        return [
            (at, message["msg_type"], message["parent_header"].get("msg_id"), message["content"])
            for at, message in self.heard
            if mime in message["content"].get("data", {})
        ]


@pytest.fixture
async def cells(kernel):
    await kernel.execute(LOAD)
    async with Cells(kernel) as opened:
        yield opened


async def test_a_display_is_renewed_every_two_seconds_and_at_once_at_the_end(cells):
    script = [{"text": "word " * 300, "duration_s": 8}]
    sent = time.monotonic()
    cell = await cells.execute(f"run = ja.run('Play.', model='scripted', script={script!r})\nrun.result()")
    await cells.done(cell)
    ended = time.monotonic()
    shown = cells.of(MIME_TYPE)
    kinds = [kind for _, kind, _, _ in shown]
    assert kinds == ["display_data", *["update_display_data"] * (len(shown) - 1)]
    assert len({content["transient"]["display_id"] for *_, content in shown}) == 1
    assert {parent for _, _, parent, _ in shown} == {cell}
    bundles = [content["data"] for *_, content in shown]
    assert all(set(data) == {MIME_TYPE, "text/html", "text/plain"} for data in bundles)
    runs = [data[MIME_TYPE] for data in bundles]
    first_final = next(at for at, run in enumerate(runs) if run["status"] == "completed")
    times = [at for at, *_ in shown]
    assert times[0] - sent < 2, "The first comes at once."
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[:first_final])]
    # As they arrive here: a loaded machine hears of one late, and of the next in time.
    assert len(gaps) >= 1
    assert min(gaps) > 1
    assert sum(gaps) / len(gaps) > 1.9
    assert max(gaps) < 6
    assert ended - times[first_final] < 2.5
    # Between, it tells how far it is; the last names the archive.
    assert 0 < len(runs[2]["turns"][0]["text"]) < 1_500
    assert "Partial" in bundles[2]["text/html"]
    assert runs[-1]["turns"][0]["text"] == "word " * 300
    assert len(runs[-1]["detail"]) == 64
    assert "Partial" not in bundles[-1]["text/html"]
    # Its status may be told before its end is, then where it is archived.
    assert len(shown) - first_final <= 3


async def test_a_cell_that_is_executed_again_has_one_display_and_leaves_those_of_others(cells):
    script = [{"text": "word " * 300, "duration_s": 9}]
    start = f"run = ja.run('Play.', model='scripted', script={script!r})"
    first = await cells.execute(start, cell_id="a")
    again = [await cells.execute("run", cell_id="b") for _ in range(3)]
    await cells.done(again[-1])
    since = time.monotonic()
    await cells.done(await cells.execute("run.result()", cell_id="c"))
    renewed = {cell for at, kind, cell, _ in cells.of(MIME_TYPE) if at > since + 0.2 and kind == "update_display_data"}
    assert renewed == {first, again[-1]}
    final = {cell: content["data"][MIME_TYPE]["status"] for _, _, cell, content in cells.of(MIME_TYPE)}
    assert [final[cell] == "completed" for cell in [first, *again]] == [True, False, False, True]


async def test_a_cell_that_starts_another_run_ends_the_display_of_the_one_before(cells):
    script = [{"text": "word " * 300, "duration_s": 5}]
    start = f"runs.append(ja.run('Play.', model='scripted', script={script!r}))"
    await cells.execute("runs = []")
    first = await cells.execute(f"{start}\n{start}", cell_id="a")
    second = await cells.execute(start, cell_id="a")
    await cells.done(await cells.execute("print(len([run.result() for run in runs]))"))
    status = {}
    for _, _, cell, content in cells.of(MIME_TYPE):
        status[cell, content["transient"]["display_id"]] = content["data"][MIME_TYPE]["status"]
    assert [final == "completed" for (cell, _), final in status.items() if cell == second] == [True]
    assert [final == "completed" for (cell, _), final in status.items() if cell == first] == [False, False]


async def test_where_cells_have_no_names_a_run_has_only_so_many_displays(cells):
    script = [{"text": "word " * 300, "duration_s": 8}]
    shown = [await cells.execute(f"run = ja.run('Play.', model='scripted', script={script!r})")]
    shown += [await cells.execute("run") for _ in range(MOST_VIEWS + 1)]
    await cells.done(await cells.execute("print(len(run.result()))"))
    final = {cell: content["data"][MIME_TYPE]["status"] for _, _, cell, content in cells.of(MIME_TYPE)}
    assert [final[cell] == "completed" for cell in shown] == [False] * 2 + [True] * MOST_VIEWS


async def test_a_run_that_waits_says_so_within_two_seconds_and_is_left_in_peace(cells, server):
    script = [{"calls": [{"name": "create_file", "arguments": {"path": "a.txt", "content": "hello\n"}}]}, "Done."]
    await cells.execute(f"run = ja.run('Play.', model='scripted', script={script!r})")
    async with asyncio.timeout(20):
        while not (waiting := [data for *_, data in cells.of(MIME_TYPE) if data["data"][MIME_TYPE].get("waiting")]):
            await asyncio.sleep(0.05)
    data = waiting[0]["data"]
    assert data[MIME_TYPE]["waiting"] == [{"kind": "approval", "what": "create_file"}]
    assert "create_file wants to write:" in data["text/html"]
    assert "hello" in data["text/html"]
    assert "jupyter agent approve" in data["text/html"]
    _, asked = await server.request("GET", f"jupyter-agent/api/runs/{data[MIME_TYPE]['runId']}/approvals")
    assert asked["items"][0]["approvalId"] not in json.dumps(data)
    number = len(cells.of(MIME_TYPE))
    await asyncio.sleep(5)
    assert len(cells.of(MIME_TYPE)) <= number + 1, "Nothing happens, so nothing is written."
    await server.request("POST", f"jupyter-agent/api/runs/{data[MIME_TYPE]['runId']}/interrupt")
    async with asyncio.timeout(10):
        while cells.of(MIME_TYPE)[-1][3]["data"][MIME_TYPE]["status"] != "interrupted":
            await asyncio.sleep(0.05)


async def test_what_comes_later_still_goes_to_the_cell_that_shows_the_run(cells, server, second_client):
    """A run is shown by a cell that does not wait; its picture comes while another cell is executed."""
    script = [{"wait_s": 2, "calls": [{"name": "run_cell", "arguments": {"code": PICTURE}}]}, {"text": "See?"}]
    run_id = await server.start_run(script)
    cell = await cells.execute(f"shown = ja.open({run_id!r}, show=True)")
    await cells.done(cell)
    other = await cells.execute("import time\nfor _ in range(100):\n    time.sleep(0.1)\n    if shown.is_done: break\n"
                                "time.sleep(2)\nprint('the other cell')")  # fmt: skip
    await cells.done(other)
    [(at, kind, parent, _)] = cells.of("image/png")
    assert (kind, parent) == ("display_data", cell)
    assert {parent for _, _, parent, _ in cells.of(MIME_TYPE)} == {cell}
    assert cells.of(MIME_TYPE)[-1][3]["data"][MIME_TYPE]["status"] == "completed"
    printed = [when for when, message in cells.heard if message["content"].get("text") == "the other cell\n"]
    assert at < printed[0], "The other cell was still being executed."


# --- saved --------------------------------------------------------------------------------------------------------


class Exported(HTMLParser):
    """The elements of an exported notebook with their attributes, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


async def executed(server, *sources):
    """Executes a notebook as `jupyter execute` does, in a kernel that no server started, and returns it as saved."""
    sources = (f"{LOAD}\nimport os\nja.connect(os.environ['OUR_SERVER'], {TOKEN!r})", *sources)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(notebook, timeout=90, kernel_name="python3")
    await client.async_execute(env=server._env() | {"OUR_SERVER": server.url})
    saved = nbformat.writes(notebook)
    nbformat.validate(nbformat.reads(saved, as_version=4))
    return nbformat.reads(saved, as_version=4)


def bundles(cell):
    return [output.data for output in cell.outputs if MIME_TYPE in output.get("data", {})]


async def test_a_saved_notebook_tells_the_story_and_so_does_its_export(server, second_client):
    hostile = "\n".join(ATTACKS)
    script = [
        {"thinking": hostile, "text": f"I plot it. {hostile}",
         "calls": [{"name": "run_cell", "arguments": {"code": PICTURE}},
                   {"name": "list_files", "arguments": {"pattern": hostile[:80]}}]},
        {"text": f"This is the answer. {hostile}"},
    ]  # fmt: skip
    saved = await executed(
        server,
        f"run = ja.run('What is in {{it}}? <script>', model='scripted', script={script!r})\nrun.result();",
        "big = ja.run('<b>long</b> & ' * 30_000, model='echo')\nbig.result();",
        "run",
    )
    [told], [much], [again] = map(bundles, saved.cells[1:])
    for data in (told, much, again):
        assert set(data) == {MIME_TYPE, "text/html", "text/plain"}
        assert len(json.dumps(data[MIME_TYPE], separators=(",", ":"), ensure_ascii=False).encode()) <= KEPT_BYTES
        assert len(json.dumps(data).encode()) < 256 * 1024
        Tags(data["text/html"]).check()
    assert told[MIME_TYPE]["status"] == "completed"
    assert len(told[MIME_TYPE]["detail"]) == 64
    assert told[MIME_TYPE]["lastEventId"] == again[MIME_TYPE]["lastEventId"]
    assert much[MIME_TYPE]["leftOutCharacters"] > 0
    assert "Not all of the run is here" in much["text/html"]
    pictures = [output for output in saved.cells[1].outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1, "The picture is an output of its own, once."

    document, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(saved)
    page = Exported(document)
    for words in ("What is in {it}? <script>", "I plot it.", "This is the answer.", "run_cell", "list_files", hostile):
        assert words in page.text
    assert not {"script", "iframe", "svg", "link", "object", "embed", "style", "form", "h1"} & set(page.tags)
    assert not page.handlers
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses), page.addresses
    assert page.tags.count("img") == 1


async def test_a_notebook_that_was_saved_in_the_middle_says_that_it_is_partial(server):
    script = [{"text": "on and on " * 1000, "duration_s": 60}]
    saved = await executed(
        server, f"run = ja.run('Play.', model='scripted', script={script!r})\nimport time\ntime.sleep(3)"
    )
    [data] = bundles(saved.cells[1])
    assert data[MIME_TYPE]["status"] == "running"
    assert "Partial: the run was still going when this was saved" in data["text/html"]
    assert "on and on" in data["text/plain"]
    status, shown = await server.request("GET", f"jupyter-agent/api/runs/{data[MIME_TYPE]['runId']}/display")
    assert status == 200
    assert len(shown[MIME_TYPE]["turns"][0]["text"]) >= len(data[MIME_TYPE]["turns"][0]["text"])
    await server.request("POST", f"jupyter-agent/api/runs/{data[MIME_TYPE]['runId']}/interrupt")
