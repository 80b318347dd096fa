"""Listing executes nothing (G01), whatever is in a file: what Python does meanwhile is heard by an audit hook."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_agent.workflow.discovery import WORKSPACE_FOLDER

ACT = "__import__('pathlib').Path(%r).write_text('executed')"
HOSTILE = {
    "import_time.py": "ACT",
    "default.py": "def f(x=ACT): pass",
    "decorator.py": "@(lambda f: ACT)\ndef f(): pass",
    "class_body.py": "class A:\n    ACT",
    "metaclass.py": "class A(metaclass=lambda *a: ACT): pass",
    "annotation.py": "x: ACT = 1\ndef f(y: ACT) -> ACT: pass",
    "del.py": "class A:\n    def __del__(self): ACT\nA()",
    "init_subclass.py": "class A:\n    def __init_subclass__(cls): ACT\nclass B(A): pass",
    "fstring.py": 'x = f"{ACT}"',
    "meta_call.py": "meta = {'name': ACT}",
    "meta_key.py": "meta = {ACT: 1}",
    "meta_fstring.py": "meta = {'name': f\"{ACT}\"}",
    "import.py": "import evil\nfrom evil import *\nimport jupyter_agent.evil",
    "codec.py": "# -*- coding: evil -*-\nx = 1",
    "warning.py": "assert (1, 'x')\nx = '\\d'",
    "future.py": "from __future__ import annotations\nACT",
    "conftest.py": "ACT",
    "sitecustomize.py": "ACT",
}

LISTER = """
import sys, warnings
from pathlib import Path
from jupyter_agent.workflow.approvals import Approvals
from jupyter_agent.workflow.discovery import list_workflows, places

work, data = Path(sys.argv[1]), Path(sys.argv[2])
where = places(work, data / "config")
list_workflows(places(data / "warm", data), Approvals(data))   # what is imported lazily is imported now
heard = []
listening = False

def hear(event, args):
    if listening:
        heard.append((event, str(args[0])[:200] if args else ""))

sys.addaudithook(hear)
listening = True
listing = list_workflows(where, Approvals(data))
listening = False
import json
print(json.dumps({"heard": heard, "names": [one.script.name for one in listing.workflows],
                  "broken": [one.file for one in listing.broken]}))
"""
# `compile` is `ast.parse`: the hook hears nothing else of it. Looking and opening is what listing is for.
HARMLESS = {"compile", "open", "os.scandir", "os.listdir"}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict:
    top = tmp_path_factory.mktemp("hostile")
    canary = top / "canary"
    folder = top / "work" / WORKSPACE_FOLDER
    folder.mkdir(parents=True)
    warm = top / "data" / "warm" / WORKSPACE_FOLDER
    warm.mkdir(parents=True)
    (warm / "a.py").write_text('meta = {"name": "a", "args": {"type": "object"}}')
    (warm / "b.py").write_text('meta = {"name": f"{1}"}')
    act = ACT % str(canary)
    for file, text in HOSTILE.items():
        head = "" if text.startswith("meta") else f"meta = {{'name': {file[:-3]!r}}}\n"
        (folder / file).write_text(head + text.replace("ACT", act))
    (folder / "evil.pth").write_text("import os; " + act)
    (folder / "__init__.py").write_text(act)
    (folder / "evil.py").write_text(f"meta = {{'name': 'evil'}}\n{act}")
    done = subprocess.run(
        [sys.executable, "-P", "-c", LISTER, str(top / "work"), str(top / "data")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=folder,
    )
    return json.loads(done.stdout) | {"canary": canary, "folder": folder}


def test_every_file_was_read(heard):
    assert set(heard["broken"]) == {"meta_call.py", "meta_key.py", "meta_fstring.py"}
    assert len(heard["names"]) == len(HOSTILE) - 3 + 1


def test_nothing_executed(heard):
    assert not Path(heard["canary"]).exists()
    assert [(event, what) for event, what in heard["heard"] if event not in HARMLESS] == []


def test_only_the_places_were_opened(heard):
    opened = {what for event, what in heard["heard"] if event == "open" and "/" in what}
    assert all(str(heard["folder"]).startswith(what) for what in opened), opened
    assert any(event == "open" and what == "evil.py" for event, what in heard["heard"])
