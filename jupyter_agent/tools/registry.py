"""The tools of a server or of a run, by name."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec.structs import replace

from ..exceptions import InvalidRequest, UnknownTool
from ..records import ToolSpec, canonical_json
from .contract import Tool, ToolAnswer, ToolContext
from .schema import check_schema

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_CLIENT_TOOLS: Final = 128
MAX_CLIENT_TIMEOUT_S: Final = 3600.0
MAX_OUTPUT_CAP: Final = 1_000_000


class Toolbox:
    """Tools by name; never changes. Raises ValueError where two share a name."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if self._tools.setdefault(tool.spec.name, tool) is not tool:
                raise ValueError(f"Two tools are called {tool.spec.name!r}: rename one.")

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def get(self, name: str) -> Tool:
        """Returns the tool. Raises UnknownTool naming the closest ones."""
        found = self._tools.get(name)
        if found is None:
            raise UnknownTool(f"There is no tool {_shortened(name)!r}. {self._advice(name)}")
        return found

    def specs(self, names: Iterable[str] | None = None) -> tuple[ToolSpec, ...]:
        """Returns what a model is told: of all tools, or of the named ones. Raises UnknownTool."""
        return tuple(tool.spec for tool in (self if names is None else self.only(names)))

    def only(self, names: Iterable[str]) -> "Toolbox":
        """Returns a toolbox of the named tools, in the order named. Raises UnknownTool."""
        return Toolbox(self.get(name) for name in dict.fromkeys(names))

    def with_client_tools(self, specs: Iterable[ToolSpec]) -> "Toolbox":
        """Returns a toolbox that holds the client's tools too, called over its socket. Raises InvalidRequest."""
        added = [client_tool(spec) for spec in specs]
        if len(added) > MAX_CLIENT_TOOLS:
            raise InvalidRequest(
                f"A run takes at most {MAX_CLIENT_TOOLS} client tools, not {len(added)}: register fewer."
            )
        names = [*self.names, *(tool.spec.name for tool in added)]
        for name in names:
            if names.count(name) > 1:
                raise InvalidRequest(
                    f"A tool called {name!r} exists already: rename the client's.", details={"fields": ["clientTools"]}
                )
        return Toolbox([*self, *added])

    def _advice(self, name: str) -> str:
        if not self._tools:
            return "This run has no tools."
        close = difflib.get_close_matches(name[:64], self._tools, n=3, cutoff=0.5)
        return f"Close to it: {', '.join(close)}." if close else f"The tools are: {', '.join(self._tools)}."


def client_tool(spec: ToolSpec) -> Tool:
    """Returns the tool that stands for a function in the client. Raises InvalidRequest for a wrong specification."""
    _check_client_spec(spec)

    async def call(context: ToolContext, arguments: dict[str, Any]) -> ToolAnswer:
        return await context.environment.call_client(
            spec.name, canonical_json(arguments), context=context, timeout_s=spec.timeout_s
        )

    return Tool(spec=replace(spec, client=True), call=call)


def _check_client_spec(spec: ToolSpec) -> None:
    fault = None
    if not _NAME.fullmatch(spec.name):
        fault = f"The tool name {_shortened(spec.name)!r} is not 1 to 64 letters, digits, '_' or '-'"
    elif not 0 < spec.timeout_s <= MAX_CLIENT_TIMEOUT_S:
        fault = f"The time-out of {spec.name} is {spec.timeout_s} s, not above 0 and at most {MAX_CLIENT_TIMEOUT_S:g} s"
    elif not 0 < spec.output_cap <= MAX_OUTPUT_CAP:
        fault = f"The output cap of {spec.name} is {spec.output_cap}, not from 1 to {MAX_OUTPUT_CAP:,} characters"
    else:
        try:
            check_schema(spec.parameters)
        except ValueError as error:
            fault = f"The parameters of {spec.name} cannot be used: {error}"
    if fault is not None:
        raise InvalidRequest(f"{fault}. Correct the registration of the tool.", details={"fields": ["clientTools"]})


def _shortened(name: str) -> str:
    return name if len(name) <= 80 else name[:80] + "…"
