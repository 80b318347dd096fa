"""Whether a script stays in the portable language: what the sandbox runs, said before anything starts.

Each construct that it does not run is one short rule below. What rules cannot see (names, members of modules, arguments
of the words) is checked by the sandbox's own parser and type checker; see `checking`.
"""

import ast
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from .cell import Cell
from .script_file import Script, parsed

MODULES: Final = frozenset(
    {"asyncio", "base64", "binascii", "bisect", "collections", "copy", "csv", "dataclasses", "datetime", "decimal"}
    | {"functools", "hashlib", "itertools", "json", "math", "random", "re", "sys", "time", "tomllib", "typing"}
    | {"unicodedata"}
)
"""What a script may import. `os` and `pathlib` are left out: there are no files and no environment to ask for."""
WAITED_FOR: Final = frozenset({"agent", "parallel", "pipeline", "workflow", "ask", "gate"})
"""Words that do nothing until they are awaited."""
WORDS: Final = WAITED_FOR | {"phase", "log", "args", "budget"}
WORDS_MODULE: Final = "jupyter_agent.words"
"""What editors and type checkers know the words by. It is no module to run: its import stands behind TYPE_CHECKING."""
_ASYNCIO: Final = frozenset({"gather", "sleep"})
_NOT_IN_MODULES: Final = {
    ("datetime", "UTC"): "timezone.utc",
    ("collections", "OrderedDict"): "dict",
    ("functools", "wraps"): "a plain inner function",
    ("typing", "TypedDict"): "dict[str, Any]",
}
"""What the type checker believes to be there, or says less plainly."""
_ABSENT: Final = {
    "open": "there are no files in it: a call with tools reads and writes them",
    "input": "use await ask(…)",
    "globals": "it has no such namespace",
    "vars": "it has no such namespace",
    "dir": "it has no such look inside",
    "compile": "code is not made while it runs",
    "eval": "code is not made while it runs",
    "exec": "code is not made while it runs",
    "__import__": "modules are imported by import",
    "super": "classes have no bases",
    "issubclass": "classes have no bases",
    "callable": "keep track of what is what",
    "memoryview": "use bytes",
    "bytearray": "use bytes",
    "breakpoint": "there is nobody at its terminal",
    "step": "it is there in notebooks only; call the function itself, here its work is replayed",
    "exit": "end the last cell, or raise",
    "quit": "end the last cell, or raise",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A place in a script that the sandbox would not run. `message` is the whole sentence, with the place."""

    message: str
    line: int
    column: int
    construct: str
    cell: int | None = None


def problem(cell: Cell, line: int, column: int, construct: str, what: str) -> Problem:
    """Returns a problem at a place in a cell's text, `line` and `column` from 1."""
    at = cell.place(line)
    return Problem(
        message=f"{at[0].upper()}{at[1:]}, column {column}: {what}",
        line=cell.first_line + line - 1,
        column=column,
        construct=construct,
        cell=cell.number or None,
    )


def problems_in(script: Script) -> list[Problem]:
    """Returns every construct of the script that is not in the portable language, in order."""
    trees = [(cell, parsed(cell)) for cell in script.cells]
    own = {name for _, tree in trees for name in _bound(tree)}
    return [
        problem(cell, at.lineno, _column(cell, at), construct, f"the sandbox does not run {what}.")
        for cell, tree in trees
        for at, construct, what in _found(tree, own)
    ]


def _column(cell: Cell, at: Any) -> int:
    """Returns a node's column in characters, from 1; the parser counts the bytes of UTF-8."""
    line = cell.text.split("\n")[at.lineno - 1].encode()
    return len(line[: at.col_offset].decode(errors="replace")) + 1


def _found(tree: ast.Module, own: set[str]) -> Iterator[tuple[Any, str, str]]:
    unseen = set(_for_editors(tree))
    found: list[tuple[Any, str, str]] = [
        (node, *said) for node in ast.walk(tree) if node not in unseen for said in _rules(node, own)
    ]
    yield from sorted(found, key=lambda rule: (rule[0].lineno, rule[0].col_offset))


def _for_editors(tree: ast.Module) -> Iterator[ast.AST]:
    """Gives the imports of words that nothing executes: they tell an editor what the words are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for part in node.body:
                match part:
                    case ast.ImportFrom(module=name, level=0) if name == WORDS_MODULE and _keeps_names(part):
                        yield from (part, *part.names)


def _keeps_names(node: ast.ImportFrom) -> bool:
    """Tells whether what is imported has its own name: another one would be nobody's when the script runs."""
    return all(alias.asname in (None, alias.name) and alias.name != "*" for alias in node.names)


def _rules(node: ast.AST, own: set[str]) -> Iterator[tuple[str, str]]:
    rule = _RULES.get(type(node))
    if rule is not None:
        yield from rule(node, own)
    said = _KINDS.get(type(node).__name__)
    if said is not None:
        yield said


_KINDS: Final[dict[str, tuple[str, str]]] = {
    "Yield": ("yield", "generators (yield): return a list"),
    "YieldFrom": ("yield from", "generators (yield from): return a list"),
    "Delete": ("del", "del: use .pop(…), or assign another value"),
    "AsyncWith": ("async with", "async with: call what you need and await it"),
    "AsyncFor": ("async for", "async for: await a list, then loop over it"),
    "TryStar": ("except*", "except*: use except"),
    "TypeAlias": ("type alias", "type aliases (type X = …)"),
    "TemplateStr": ("t-string", "template strings: use f-strings"),
}


def _class(node: ast.ClassDef, _own: set[str]) -> Iterator[tuple[str, str]]:
    if node.bases or node.keywords:
        yield "inheritance", f"inheritance: class {node.name} has to stand without bases and metaclass"
    for index, part in enumerate(node.body):
        match part:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if part.decorator_list:
                    name = ast.unparse(part.decorator_list[0])
                    kind = "properties" if name == "property" else "decorated methods"
                    yield f"@{name[:40]}", f"{kind} (@{name[:40]} on {part.name}): write a plain method or a function"
            case ast.Assign(targets=[ast.Name()]) | ast.AnnAssign(target=ast.Name()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Constant(value=str())) if index == 0:
                pass
            case _:
                yield "class body", f"this in a class: class {node.name} may hold methods and simple values"


def _import(node: ast.Import, _own: set[str]) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        yield from _module(alias.name)


def _import_from(node: ast.ImportFrom, _own: set[str]) -> Iterator[tuple[str, str]]:
    if node.level:
        yield "relative import", "relative imports: a workflow is one file"
    elif node.module != "__future__":
        yield from _module(node.module or "")
    for alias in node.names:
        if alias.name == "*":
            yield "import *", "import *: name what you import"
        elif node.module == "asyncio":
            yield from _asyncio(alias.name)
        elif node.module and (node.module, alias.name) in _NOT_IN_MODULES:
            yield (
                f"{node.module}.{alias.name}",
                f"{node.module}.{alias.name}: use {_NOT_IN_MODULES[node.module, alias.name]}",
            )


def _module(name: str) -> Iterator[tuple[str, str]]:
    if name == WORDS_MODULE:
        guarded = f"if TYPE_CHECKING: from {name} import agent"
        yield f"import {name}", f"import {name}: the words are there; for an editor write `{guarded}`, each by its name"
    elif name not in MODULES:
        yield (
            f"import {name[:60]}",
            f"import {name[:60]}: there are only {', '.join(sorted(MODULES))}; calls do the rest with their tools",
        )


def _attribute(node: ast.Attribute, _own: set[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, ast.Name) and node.value.id == "asyncio":
        yield from _asyncio(node.attr)
    elif node.attr.startswith("__") and node.attr.endswith("__") and node.attr not in _DUNDERS:
        yield node.attr, f"{node.attr}: Python's insides are not there"


_DUNDERS: Final = frozenset({"__name__", "__class__", "__init__", "__doc__"})


def _asyncio(name: str) -> Iterator[tuple[str, str]]:
    if name not in _ASYNCIO:
        yield f"asyncio.{name}", f"asyncio.{name}: await at the top level, use parallel(…) or asyncio.gather(…)"


def _call(node: ast.Call, _own: set[str]) -> Iterator[tuple[str, str]]:
    name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
    if name in ("asyncio.gather", "gather") and node.keywords:
        words = ", ".join(f"{keyword.arg}=" for keyword in node.keywords if keyword.arg)
        yield f"gather({words})", f"gather({words}): use parallel(…), where a failed call is None"
    if name == "next" and node.args and isinstance(node.args[0], ast.GeneratorExp):
        yield "next(… for …)", "next() over a generator: write next(iter([… for …]))"


def _name(node: ast.Name, own: set[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node.ctx, ast.Load) and node.id in _ABSENT and node.id not in own:
        yield node.id, f"{node.id}(): {_ABSENT[node.id]}"


def _comprehension(node: Any, _own: set[str]) -> Iterator[tuple[str, str]]:
    if any(part.is_async for part in node.generators):
        yield "async comprehension", "async comprehensions: await a list, then loop over it"


def _statement(node: ast.Expr, own: set[str]) -> Iterator[tuple[str, str]]:
    match node.value:
        case ast.Call(func=ast.Name(id=word)) if word in WAITED_FOR - own:
            yield f"{word}(…)", f"{word}(…) here: it starts when it is awaited; write await {word}(…)"


def _function(node: Any, _own: set[str]) -> Iterator[tuple[str, str]]:
    if node.name in WORDS:
        yield f"def {node.name}", f"a function named {node.name}: that is a word of workflows, choose another name"


_RULES: Final[dict[type[ast.AST], Callable[[Any, set[str]], Iterator[tuple[str, str]]]]] = {
    ast.ClassDef: _class,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.Name: _name,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Expr: _statement,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
}


def _bound(tree: ast.Module) -> Iterator[str]:
    """Gives the names that the script itself gives to something: they are its own, whatever else has that name."""
    unseen = set(_for_editors(tree))
    for node in ast.walk(tree):
        if node in unseen:
            continue
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=given):
                yield given or name.partition(".")[0]
