"""The IPython shell around us, if there is one.

IPython is never imported here: where a shell exists it is loaded already, and a plain script must not pay for it.
"""

import os
import re
import sys
from typing import Any

from ..records import Cell


def current_shell() -> Any | None:
    """Returns the IPython shell of this process, or None in plain Python."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def kernel_shell() -> Any | None:
    """Returns the shell when it is that of a Jupyter kernel, where outputs go to a notebook; else None."""
    shell = current_shell()
    return shell if getattr(shell, "kernel", None) is not None else None


def in_kernel() -> bool:
    """Tells whether this process is a Jupyter kernel."""
    return kernel_shell() is not None


def kernel_is_ending() -> bool:
    """Tells whether this kernel was told to shut down or to start anew."""
    return bool(getattr(kernel_shell(), "exit_now", False))


def kernel_id() -> str | None:
    """Returns the id under which Jupyter's server knows this kernel: it stands in the connection file's name."""
    app = getattr(getattr(kernel_shell(), "kernel", None), "parent", None)
    found = re.search(r"kernel-([A-Za-z0-9_-]{1,128})\.json$", str(getattr(app, "connection_file", "")))
    return found[1] if found else None


def current_cell() -> Cell | None:
    """Returns the cell that is being executed, as far as the front end told it; None outside of a kernel."""
    shell = kernel_shell()
    if shell is None:
        return None
    header = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell_id = (header or {}).get("metadata", {}).get("cellId")
    return Cell(
        cell_id=cell_id if isinstance(cell_id, str) else None,
        execution_count=shell.execution_count,
        notebook=os.environ.get("JPY_SESSION_NAME"),
    )
