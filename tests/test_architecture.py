"""The house plan: which room may import which. Read it top down."""

import ast
from pathlib import Path

import jupyter_agent

ROOT = Path(jupyter_agent.__file__).parent

GROUND = {
    *("exceptions", "records", "events", "transcript", "compact", "cache_shape", "display", "facts", "chain"),
    "failpoints",
    "flow",
}
MAY_IMPORT = {
    # the ground, which both towers stand on
    "exceptions": set(),
    "records": {"exceptions"},
    "events": {"exceptions", "records"},
    "transcript": {"exceptions", "records", "events"},
    "compact": {"exceptions", "records", "events", "transcript"},
    "cache_shape": {"exceptions", "records"},
    "display": {"exceptions", "records", "events", "transcript", "compact"},
    "facts": {"exceptions", "records", "events", "transcript"},
    "chain": {"exceptions", "records", "events"},
    "failpoints": set(),
    "flow": {"exceptions", "records"},
    "protocol": GROUND,
    # the server tower
    "storage": GROUND,
    "journal": GROUND | {"storage"},
    "models": GROUND,
    "tools": GROUND,
    "runtime": GROUND | {"storage", "journal", "models", "tools"},
    "workflow": GROUND | {"storage", "journal", "models", "tools", "runtime", "script"},
    "gateway": GROUND | {"protocol", "storage", "journal", "models", "tools", "runtime", "script", "workflow"},
    # the kernel tower
    "script": GROUND,
    "client": GROUND | {"protocol", "script"},
    "frames": GROUND | {"client"},
    # Other agents' logs as our facts, and our facts for others: neither a frame nor a part of the client.
    "traces": GROUND | {"client", "frames"},
    "widgets": GROUND | {"protocol", "client", "frames"},
    "magics": GROUND | {"client", "script", "frames", "widgets"},
    # beside them
    "cli": GROUND | {"protocol", "gateway", "storage", "journal", "client"},
    "testing": GROUND | {"models", "storage", "tools"},
    "__init__": {"gateway", "client", "script", "frames", "traces", "widgets", "magics"},
}
ONLY_IN = {
    "jupyter_server": {"gateway"},
    "tornado": {"gateway", "client"},
    "traitlets": {"gateway", "widgets"},
    "sqlalchemy": {"storage"},
    "anywidget": {"widgets"},
    "pandas": {"frames"},
    "IPython": {"magics", "widgets"},
}


def rooms():
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).parts[0].removesuffix(".py"), path


def imports(path):
    package = ["jupyter_agent", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])
            if not node.module:
                yield from (".".join([*base, alias.name]) for alias in node.names)


def test_every_room_is_on_the_plan():
    assert {room for room, _ in rooms()} <= MAY_IMPORT.keys()


def test_imports_only_go_down():
    broken = []
    for room, path in rooms():
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "jupyter_agent" and rest and rest[0] not in MAY_IMPORT[room] | {room}:
                broken.append(f"{path.relative_to(ROOT)} imports {name}")
            if room not in ONLY_IN.get(top, {room}):
                broken.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not broken, "\n".join(broken)
