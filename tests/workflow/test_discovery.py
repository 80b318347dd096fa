"""What is found, what shadows what, what is broken and why."""

import json
import os
import time
from pathlib import Path

import pytest

from jupyter_agent.exceptions import WorkflowNotApproved, WorkflowNotFound
from jupyter_agent.workflow.discovery import CONFIG_FOLDER, MAX_FILES
from jupyter_agent.workflow.meta import args_problems
from jupyter_agent.workflow.script_file import MAX_BYTES

PLAIN = 'meta = {"name": "NAME", "description": "What it does"}\nawait agent("hello")\n'


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def notebook(*sources: str, **output: object) -> str:
    cells = [
        {"cell_type": "code", "source": source.splitlines(keepends=True), "metadata": {}, "outputs": [output]}
        for source in sources
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


def test_cells_and_meta_of_a_file(folder, listing):
    text = (
        'meta = {"name": "review", "description": "Reviews", "phases": ["Read", {"title": "Merge", "detail": "one"}],\n'
        '        "args": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}\n'
        "# %% read\nphase('Read')\n\n# %%\n1 +\\\n 1\n"
    )
    write(folder / "review.py", text)
    script = listing().get("review").script
    assert [(cell.first_line, cell.text.strip()) for cell in script.cells][1:] == [
        (4, "phase('Read')"),
        (7, "1 +\\\n 1"),
    ]
    assert [(phase.title, phase.detail) for phase in script.meta.phases] == [("Read", ""), ("Merge", "one")]
    assert args_problems(script.meta, {"path": "a.py"}) == []
    assert args_problems(script.meta, {"path": 3})
    assert args_problems(script.meta, {})


def test_a_notebook_holds_one_workflow_for_each_name(folder, listing):
    sources = ("import pandas", "%%workflow a\nx = 1", "# text\n", "%%workflow b -v\nawait agent('b')")
    write(folder / "two.ipynb", notebook(*sources, "%%workflow a\nx + 1"))
    found = {one.script.name: one.script for one in listing().workflows}
    assert set(found) == {"a", "b"}
    assert [(cell.number, cell.first_line, cell.text) for cell in found["a"].cells] == [
        (2, 2, "x = 1"),
        (5, 2, "x + 1"),
    ]
    # Outputs that were saved are no part of what was approved.
    write(folder / "two.ipynb", notebook("%%workflow a\nx = 1", "%%workflow a\nx + 1", text="much"))
    assert listing().get("a").script.digest == found["a"].digest


def test_earlier_places_shadow_later_ones_and_the_list_says_so(tmp_path, folder, listing):
    config = tmp_path / "config" / CONFIG_FOLDER
    for name, path in (
        ("one", tmp_path / "catalog"),
        ("one", folder),
        ("two", folder),
        ("one", config),
        ("two", config),
        ("three", config),
    ):
        write(path / f"{name}.py", PLAIN.replace("NAME", name))
    assert [(one.script.name, one.place, one.shadowed_by) for one in listing().workflows] == [
        ("one", "built-in", None),
        ("one", "workspace", "built-in"),
        ("two", "workspace", None),
        ("one", "config", "built-in"),
        ("three", "config", None),
        ("two", "config", "workspace"),
    ]
    assert listing().get("one").place == "built-in"
    with pytest.raises(WorkflowNotFound, match="There are: one, three, two"):
        listing().get("four")


def test_two_files_of_one_place_with_one_name(folder, listing):
    write(folder / "a.py", PLAIN.replace("NAME", "same"))
    write(folder / "b.py", PLAIN.replace("NAME", "same"))
    found = listing()
    assert [one.file for one in found.workflows] == ["a.py"]
    assert "rename one" in found.broken[0].error


def test_a_workspace_file_is_data_until_its_text_was_approved(tmp_path, folder, listing, approvals):
    write(folder / "a.py", PLAIN.replace("NAME", "a"))
    write(tmp_path / "config" / CONFIG_FOLDER / "mine.py", PLAIN.replace("NAME", "mine"))
    assert listing().get_to_run("mine").name == "mine"
    with pytest.raises(WorkflowNotApproved) as refused:
        listing().get_to_run("a")
    digest = refused.value.details["digest"]
    first = approvals.approve(digest, name="a", actor="owner")
    assert approvals.approve(digest, name="a", actor="somebody later") == first
    assert listing().get_to_run("a").digest == digest
    assert (tmp_path / "data" / "workflow-approvals" / digest).stat().st_mode & 0o777 == 0o600
    write(folder / "a.py", PLAIN.replace("NAME", "a").replace("hello", "rm -rf"))
    with pytest.raises(WorkflowNotApproved):
        listing().get_to_run("a")
    assert approvals.revoke(digest)
    assert not approvals.revoke(digest)


BROKEN = {
    "syntax.py": ("meta = {'name': 'x'}\nx = (\n", 2, "never closed"),
    "no_meta.py": ("x = 1\n", 1, "does not say what it is"),
    "twice.py": ("meta = {'name': 'x'}\n# %%\nmeta = {'name': 'x'}\n", 3, "said before, at line 1"),
    "call.py": ("meta = {\n  'name': 'x',\n  'description': open('/etc/passwd').read()}\n", 3, "literal"),
    "shape.py": ("meta = {'name': 'x', 'describtion': 'y'}\n", 1, "describtion"),
    "name.py": ("meta = {'name': '../../etc/passwd'}\n", 1, "name"),
    "schema.py": ("meta = {'name': 'x', 'args': {'type': 'objekt'}}\n", 1, "args"),
    "latin.py": ("meta = {'name': 'x'}\n# caf\xe9\n".encode("latin-1"), 2, "not written in UTF-8"),
    "utf16.py": ("meta = {'name': 'x'}".encode("utf-16"), None, "UTF-16"),
    "nul.py": (b"meta = {'name': 'x'}\n\0", 2, "NUL"),
    "huge.py": (b"#" * (MAX_BYTES + 1), None, "262,144 are the most"),
    "brackets.py": ("meta = {'name': 'x'}\n" + "(" * 100 + ")" * 100, 2, "nests too deep"),
    "minus.py": ("meta = {'name': 'x'}\n" + "-" * 50_000 + "1", 2, "nests too deep"),
    "dots.py": ("meta = {'name': 'x'}\nx" + ".a" * 20_000, 2, "nests too deep"),
    "elif.py": ("meta = {'name': 'x'}\nif 1: pass\n" + "elif 1: pass\n" * 5000, None, "nests too deep"),
    "lambda.py": ("meta = {'name': 'x'}\n" + "lambda: " * 5000 + "1", 2, "nests too deep"),
    "fstring.py": ("meta = {'name': 'x'}\nf'{" + "(" * 500 + "1" + ")" * 500 + "}'", 2, "nests too deep"),
    "no.ipynb": ("{", None, "no notebook"),
    "old.ipynb": ('{"nbformat": 3, "cells": []}', None, "format 3"),
    "deep.ipynb": ("[" * 100_000, None, "no notebook"),
    "nameless.ipynb": (notebook("%%workflow\nx = 1"), 1, "needs the workflow's name"),
    "magic.ipynb": (notebook("x", "%%workflow a\n%pip install x"), 2, "Cell 2, line 2"),
    "other.ipynb": (notebook("%%workflow a\nmeta = {'name': 'b'}"), 2, "says the name 'b'"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_broken_files_are_listed_with_their_error(folder, listing, file):
    text, line, part = BROKEN[file]
    write(folder / file, text)
    write(folder / "good.py", PLAIN.replace("NAME", "good"))
    found = listing()
    assert [one.script.name for one in found.workflows] == ["good"]
    (broken,) = found.broken
    assert broken.file == file
    assert part in broken.error
    assert line is None or broken.line == line


def test_encodings_that_are_fine(folder, listing):
    text = PLAIN.replace("NAME", "a").replace("hello", "grüße 🎈")
    plain = write(folder / "a.py", text)
    digest = listing().get("a").script.digest
    data = text.encode()
    for written in (b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r")):
        plain.write_bytes(written)
        assert listing().get("a").script.digest == digest
    # A cookie is a comment: nothing looks an encoding up.
    plain.write_bytes(b"# -*- coding: no-such-encoding -*-\n" + data)
    assert "grüße 🎈" in listing().get("a").script.text


def test_links_pipes_and_folders_are_not_read(tmp_path, folder, listing):
    outside = write(tmp_path / "outside.py", PLAIN.replace("NAME", "outside"))
    (folder / "link.py").symlink_to(outside)
    (folder / "dangling.py").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.py")
    (folder / "folder.py").mkdir()
    found = listing()
    assert not found.workflows
    assert {one.file: one.error.split(":")[0] for one in found.broken} == {
        "dangling.py": "It is a link",
        "folder.py": "It is no file.",
        "link.py": "It is a link",
        "pipe.py": "It is no file.",
    }


def test_a_folder_that_is_a_link_out_of_the_workspace_is_not_read(tmp_path, folder, listing):
    write(tmp_path / "else" / "workflows" / "a.py", PLAIN.replace("NAME", "a"))
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.symlink_to(tmp_path / "else")
    found = listing()
    assert not found.workflows
    assert "outside of the workspace" in found.notes[0]


def test_ten_thousand_files_do_not_hold_the_list_up(folder, listing):
    text = PLAIN.encode()
    for number in range(10_000):
        (folder / f"f{number:05}.py").write_bytes(text.replace(b"NAME", b"w%05d" % number))
    began = time.monotonic()
    found = listing()
    assert len(found.workflows) == MAX_FILES
    assert "10,000 files" in found.notes[0]
    assert time.monotonic() - began < 20
