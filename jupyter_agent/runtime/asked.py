"""Whether what a person answered is what was asked for."""

from typing import Any, Final

from ..exceptions import InvalidRequest
from ..tools.repair import parse_json
from ..tools.schema import schema_problems

SHOWN: Final = 8


def check_answer(content: str, schema: dict[str, Any] | None) -> None:
    """Raises InvalidRequest where the answer does not fill in the form that the schema describes."""
    if schema is None:
        return
    try:
        value = parse_json(content)
    except ValueError as fault:
        raise InvalidRequest(
            f"The answer is no JSON: {fault}. The question comes with a form: answer with a JSON object."
        ) from fault
    if problems := schema_problems(schema, value):
        raise InvalidRequest(
            f"The answer does not fit the form: {'; '.join(problems[:SHOWN])}. Nothing was recorded: correct it.",
            details={"problems": problems[:SHOWN]},
        )
