"""`import jupyter_agent` costs nothing, and its names lead where they say."""

import inspect
import json
import subprocess
import sys

import pytest

import jupyter_agent as ja

HEAVY = (
    "sqlalchemy",
    "jupyter_server",
    "pandas",
    "pydantic_ai",
    "tornado",
    "IPython",
    "msgspec",
    "alembic",
    "anywidget",
)
SERVER_SIDE = ("sqlalchemy", "jupyter_server", "pydantic_ai", "alembic")


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


def test_importing_it_loads_nothing_of_either_tower():
    loaded = loaded_after("import jupyter_agent as ja")
    assert not loaded & set(HEAVY)
    assert not [name for name in loaded if name.startswith("jupyter_agent.")]


def test_using_it_loads_nothing_of_the_server():
    loaded = loaded_after(f"import jupyter_agent as ja\nfor name in {ja.__all__!r}: getattr(ja, name)")
    assert not loaded & set(SERVER_SIDE)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("jupyter_agent.")}
    assert not rooms & {"storage", "journal", "models", "tools", "runtime", "gateway"}


def test_starting_runs_loads_no_widgets_and_no_pandas():
    names = [name for name in ja.__all__ if "widgets" not in ja._HOMES.get(name, "")]
    loaded = loaded_after(f"import jupyter_agent as ja\nfor name in {names!r}: getattr(ja, name)")
    assert not loaded & {"anywidget", "ipywidgets", "pandas"}
    assert "anywidget" in loaded_after("import jupyter_agent as ja\nja.RunView")


def test_importing_it_takes_less_than_a_tenth_of_a_second():
    """What our own modules cost, as Python itself measures; the best of three, for the machine may be busy."""
    best = min(_import_us() for _ in range(3))
    assert best < 100_000


def _import_us() -> int:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import jupyter_agent"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    [line] = [line for line in done.stderr.splitlines() if line.rstrip().endswith(" jupyter_agent")]
    return int(line.split("|")[1])


def test_the_module_that_is_asked_for_a_frame_says_what_can_be_asked():
    assert inspect.signature(ja.events) == inspect.signature(ja.messages)
    assert "a row an event" in inspect.getdoc(ja.events.__call__)
    assert "`ja.events(…)`" in ja.events.__doc__


@pytest.mark.parametrize("name", ja.__all__)
def test_every_name_is_there_and_documented(name):
    assert name in dir(ja)
    value = getattr(ja, name)
    assert name == "__version__" or value.__doc__


def test_twins_come_in_pairs():
    # What talks to the gateway has a twin; files and frames of one's own have not, nor what is talked with later.
    files = {"import_traces", "export", "open_store", "profile"}
    calls = {name for name in ja.__all__ if name[0].islower()} - {"tool", "connect", "workflow", *files}
    alone = {name for name in calls if not (f"a{name}" in calls or (name[0] == "a" and name[1:] in calls))}
    assert not alone


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = ja.runn


def test_the_labextension_is_where_jupyterlab_looks():
    assert ja._jupyter_labextension_paths() == [{"src": "labextension", "dest": "jupyter-agent"}]
    [point] = ja._jupyter_server_extension_points()
    assert point["app"].name == "jupyter_agent"
