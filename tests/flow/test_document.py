"""The flow in the documents is carried out as it stands there."""

import ast
import inspect
import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "flows.md"


async def test_the_example_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    code = compile(blocks[0], str(DOCUMENT), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, object] = {}
    found = eval(code, names)  # noqa: S307 - our own document
    assert inspect.iscoroutine(found)
    await found
    assert capsys.readouterr().out == "completed Nothing is wrong with 'Some text.'. Some text.\n"
    assert "cannot start" not in repr(names["flow"])
