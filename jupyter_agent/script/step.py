"""One `step(fn, …)` of a workflow: the result of one's own code, known by the code and by what it was given."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from .key import CallFields
from .placed import PlacedCall

MAX_SOURCE_CHARS: Final = 20_000
MAX_INPUTS: Final = 500


class PlacedStep(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A step with its place, as a kernel says it: without an `answer` it asks for a stored one, with it it is to be
    stored. `answer` is JSON, `seconds` what the function took.

    `name` is the function's, `source` its code, `inputs` what it was given, a text for each: name and value, or the
    digest of what is long. The rest is as with calls.
    """

    token: Annotated[str, Meta(min_length=1, max_length=128)]
    name: Annotated[str, Meta(min_length=1, max_length=1_000)]
    source: Annotated[str, Meta(max_length=2 * MAX_SOURCE_CHARS)]
    inputs: Annotated[tuple[Annotated[str, Meta(max_length=1_000)], ...], Meta(max_length=MAX_INPUTS)] = ()
    phase: Annotated[str, Meta(max_length=1_000)] | None = None
    cell: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    position: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    answer: str | None = None
    seconds: Annotated[float, Meta(ge=0)] = 0.0

    @property
    def fields(self) -> CallFields:
        """What determines the result. There is no model in it."""
        return CallFields(prompt=self.name, model="", source=self.source, inputs=self.inputs)

    @property
    def placed(self) -> PlacedCall:
        """The step as a call, as it is kept beside those of agents."""
        return PlacedCall(
            prompt=self.name, label=self.name, phase=self.phase, token=self.token, cell=self.cell,
            position=self.position,
        )  # fmt: skip
