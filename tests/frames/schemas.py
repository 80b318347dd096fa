"""The columns of every frame with their dtypes, as they were agreed: a change of one is a change for who uses them."""

import json
from pathlib import Path

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "frame_schemas.json").read_text(encoding="utf-8"))
ONE, MANY = GOLDEN["one run"], GOLDEN["many runs"]


def schema(frame):
    """Returns the frame's columns in their order, with their dtypes."""
    return [(name, str(dtype)) for name, dtype in frame.dtypes.items()]


def agreed(grain, kind):
    """Returns what `schema` says of a frame as it should be."""
    return list(grain[kind].items())
