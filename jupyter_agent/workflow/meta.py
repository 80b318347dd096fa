"""What a workflow says of itself: `meta`, a literal at the top level of its script, read and never evaluated."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from ..exceptions import InvalidRequest, WorkflowInvalid
from ..script import AgentCall
from ..script.limits import checked_limits
from ..tools.schema import check_schema, schema_problems
from .cell import Cell, invalid

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
MAX_PHASES: Final = 50
_EXAMPLE: Final = 'meta = {"name": "review-code", "description": "What it does"}'


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named stretch of a workflow, for people and budgets."""

    title: str
    detail: str = ""
    budget: dict[str, int | float] | None = None


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`args` is the JSON Schema of the run's arguments, an object; None takes whatever comes. `model`, `settings` (the
    model's) and `instructions` hold for calls that say nothing else, as `ja.workflow(…)` gives them in a notebook."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    description: str = ""
    phases: tuple[Phase, ...] = ()
    args: dict[str, Any] | None = None
    model: str | None = None
    settings: dict[str, Any] = {}
    instructions: str | None = None

    def said_for(self, call: AgentCall, *, model: str | None = None) -> dict[str, Any]:
        """Returns a call with what the script says for all of its calls; `model` is that of a run whose script names
        none."""
        said = msgspec.structs.asdict(call)
        if call.kind != "agent":
            return said
        of_phase = {phase.title: phase.budget for phase in self.phases}.get(call.phase or "")
        return said | {
            "model": call.model or self.model or model, "settings": dict(self.settings),
            "instructions": self.instructions, "phase_budget": call.phase_budget or of_phase,
        }  # fmt: skip


def read_meta(cells: Sequence[Cell], trees: Sequence[ast.Module], name: str | None) -> Meta:
    """Returns the meta of a script whose cells were parsed.

    `name` is the notebook's name for it; then a script may do without meta, and one that says another name is
    refused. Raises WorkflowInvalid where meta is missing, said twice, no literal or of a wrong shape.
    """
    found = [
        (cell, node)
        for cell, tree in zip(cells, trees, strict=True)
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_meta(node)
    ]
    if not found:
        if name is None:
            raise invalid(f"it does not say what it is. Begin with {_EXAMPLE}", cells[0], 1)
        return _meta({"name": name}, cells[0], 1)
    cell, node = found[0]
    if len(found) > 1:
        again, second = found[1]
        raise invalid(f"meta was said before, at {cell.place(node.lineno)}: say it once.", again, second.lineno)
    value = node.value
    try:
        said = ast.literal_eval(value) if value is not None else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise invalid(
            "meta has to be a literal: text, numbers, lists and dicts written out, since it is read without running "
            "the script.",
            cell,
            _first_that_is_no_literal(node),
            construct="meta",
        ) from error
    if not isinstance(said, dict):
        raise invalid(f"meta has to be a dict such as {_EXAMPLE}", cell, node.lineno)
    if name is not None and said.setdefault("name", name) != name:
        raise invalid(f"meta says the name {said['name']!r}, the cell says {name!r}: one name.", cell, node.lineno)
    return _meta(said, cell, node.lineno)


def check_name(name: str) -> None:
    """Raises WorkflowInvalid for what is no name of a script."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise WorkflowInvalid(f"{name[:100]!r} is no name of a script: use letters, digits, - _ and . (80 at most).")


def args_problems(meta: Meta, args: Mapping[str, Any]) -> list[str]:
    """Returns a clause for each of a run's arguments that the workflow does not take as it is."""
    return schema_problems(meta.args, dict(args)) if meta.args is not None else []


def is_meta(node: ast.AST) -> bool:
    """Tells whether a statement says `meta`."""
    match node:
        case ast.Assign(targets=[ast.Name(id="meta")]) | ast.AnnAssign(target=ast.Name(id="meta")):
            return True
    return False


def _first_that_is_no_literal(node: ast.Assign | ast.AnnAssign) -> int:
    """Returns the line to look at: that of the first name or call in meta."""
    kinds = (ast.Call, ast.Name, ast.JoinedStr, ast.Attribute, ast.Lambda, ast.ListComp, ast.Subscript)
    inside = node.value if node.value is not None else node
    return min((part.lineno for part in ast.walk(inside) if isinstance(part, kinds)), default=node.lineno)


def _meta(said: dict[Any, Any], cell: Cell, line: int) -> Meta:
    phases = said.get("phases", [])
    if isinstance(phases, list | tuple):
        said = {**said, "phases": [{"title": one} if isinstance(one, str) else one for one in phases]}
    try:
        # By way of JSON: what is no JSON (sets, bytes, a dict of numbers) is no meta either.
        meta = msgspec.json.decode(json.dumps(said, allow_nan=False), type=Meta)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise invalid(f"meta is not of the right shape: {error}.", cell, line, construct="meta") from error
    if len(meta.phases) > MAX_PHASES:
        raise invalid(f"meta has {len(meta.phases)} phases, {MAX_PHASES} are the most.", cell, line)
    for phase in meta.phases:
        if phase.budget is not None:
            try:
                checked_limits(phase.budget, what=f"The budget of the phase {phase.title!r}")
            except InvalidRequest as error:
                raise invalid(error.message, cell, line, construct="meta") from error
    if meta.args is not None:
        try:
            check_schema(meta.args)
        except ValueError as error:
            raise invalid(f"meta's args: {error}.", cell, line, construct="meta") from error
    return meta
