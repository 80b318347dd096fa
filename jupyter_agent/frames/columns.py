"""Arrow as pandas: the same names, order and dtypes for every frame of a kind, empty ones included."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..facts.columns import Column, Type, batch

if TYPE_CHECKING:
    import pandas as pd


def to_table(columns: Sequence[Column], rows: Sequence[Any]) -> Any:
    """Returns a `pyarrow.Table` of these columns, a row for each object."""
    import pyarrow as pa

    return pa.Table.from_batches([batch(columns, rows)])


def to_frame(table: Any, columns: Iterable[Column], *, parse: bool = False) -> "pd.DataFrame":
    """Returns a table of facts as a frame; `columns` are those of its kind. The table is used up.

    With `parse`, columns of JSON hold what the JSON says, and the text where it is none.
    """
    import pandas as pd
    import pyarrow as pa

    types = {
        pa.string(): pd.StringDtype("pyarrow"),
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    known = {column.name: column for column in columns}
    names = [name for name in table.column_names if name in known and known[name].type is Type.NAME]
    places = {name: table.column_names.index(name) for name in names}
    # Names are few: they are counted by Arrow, and never made texts.
    counted = {name: _counted(table.column(name), known[name].names) for name in names}
    frame = table.drop_columns(names).to_pandas(types_mapper=types.get, split_blocks=True, self_destruct=True)
    for name in names:
        frame.insert(places[name], name, counted[name])
    for name in frame.columns if parse else ():
        if name in known and known[name].type is Type.JSON:
            frame[name] = pd.Series([_parsed(text) for text in frame[name]], dtype=object)
    return frame


def _counted(texts: Any, names: Sequence[str]) -> "pd.Categorical":
    """Returns texts as categories: all that are known beforehand, else those that there are, sorted."""
    import pandas as pd
    from pyarrow import compute

    found = texts.combine_chunks().dictionary_encode()
    said = found.dictionary.to_pylist()
    order = list(names) or sorted(said)
    place = {name: number for number, name in enumerate(order)}
    # Behind the last one stands what is missing, and what a newer version may say.
    codes = pd.array([place.get(name, -1) for name in said] + [-1], dtype="int64").to_numpy()
    indices = compute.fill_null(found.indices, len(said)).to_numpy(zero_copy_only=False)
    categories = pd.Index(order, dtype=pd.StringDtype("pyarrow"))
    return pd.Categorical.from_codes(codes[indices], dtype=pd.CategoricalDtype(categories))


def _parsed(text: Any) -> Any:
    """Returns what a text says as JSON; what is none, as models write it too, as it is."""
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
