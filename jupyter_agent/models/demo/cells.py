"""The Python that the demo model asks to run in the notebook's kernel: short, and fit to be kept by its reader.

A kernel starts in its notebook's folder, which may lie below the workspace that the file names are relative to: so each
cell looks for them from its folder upwards.
"""

import json
from collections.abc import Sequence

_FIND = """\
root = next((p for p in [Path.cwd(), *Path.cwd().parents] if (p / {first}).exists()), Path.cwd())
"""


def missing_values(names: Sequence[str], *, plot: bool) -> str:
    """Returns a cell that counts the missing values of CSV files, and draws them."""
    listing = "".join(f"    {_text(name)},\n" for name in names)
    code = (
        "from pathlib import Path\n\nimport pandas as pd\n\n"
        f"names = [\n{listing}]\n"
        f"{_FIND.format(first='names[0]')}"
        """
missing = {}
for name in names:
    try:
        frame = pd.read_csv(root / name)
    except Exception as error:
        print(f"{name}: could not be read ({error})")
        continue
    missing[name] = frame.isna().sum()
    print(f"{name}: {missing[name].sum()} of {frame.size} values missing")
    for column, count in missing[name][missing[name] > 0].items():
        print(f"    {column}: {count}")
"""
    )
    if not plot:
        return code
    return (
        code
        + """
import matplotlib.pyplot as plt

totals = pd.Series({name: int(counts.sum()) for name, counts in missing.items()})
worst = totals.idxmax()
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
totals.sort_values().plot.barh(ax=left, title="Missing values by file")
missing[worst].sort_values().plot.barh(ax=right, title=f"{worst}: by column")
figure.tight_layout()
plt.show()"""
    )


def plot(name: str, columns: Sequence[str], *, histogram: bool) -> str:
    """Returns a cell that draws columns of a CSV file, all numeric ones if none is named."""
    chosen = f"[{', '.join(map(_text, columns))}]" if columns else 'frame.select_dtypes("number").columns'
    kind = (
        "numbers.hist(bins=20, figsize=(9, 4))" if histogram else 'numbers.plot(marker=".", figsize=(9, 4), title=name)'
    )
    return (
        "from pathlib import Path\n\nimport matplotlib.pyplot as plt\nimport pandas as pd\n\n"
        f"name = {_text(name)}\n{_FIND.format(first='name')}frame = pd.read_csv(root / name)\n"
        f"numbers = frame[{chosen}]\n"
        "print(f\"{name}: {len(frame)} rows, drawn: {', '.join(map(str, numbers.columns))}\")\n"
        f"{kind}\nplt.tight_layout()\nplt.show()"
    )


def summary_of_file(name: str) -> str:
    """Returns a cell that describes a CSV file."""
    return (
        "from pathlib import Path\n\nimport pandas as pd\n\n"
        f"name = {_text(name)}\n{_FIND.format(first='name')}frame = pd.read_csv(root / name)\n"
        + _describe("frame", "{name}")
    )


def summary_of_frame(variable: str) -> str:
    """Returns a cell that describes a DataFrame of the notebook, by its variable."""
    return _describe(variable, variable)


def _describe(variable: str, shown: str) -> str:
    return (
        f'print(f"{shown}: {{len({variable})}} rows, {{len({variable}.columns)}} columns")\n'
        f'print({variable}.describe(include="all").to_string())'
    )


def line_counts(names: Sequence[str]) -> str:
    """Returns a cell that counts the lines of files."""
    return (
        "from pathlib import Path\n\n"
        f"names = [{', '.join(map(_text, names))}]\n{_FIND.format(first='names[0]')}"
        "for name in names:\n"
        '    with open(root / name, errors="replace") as file:\n'
        '        print(f"{name}: {sum(1 for line in file)} lines")'
    )


def _text(value: str) -> str:
    """Returns the string as a Python literal in double quotes."""
    return json.dumps(value, ensure_ascii=False)
