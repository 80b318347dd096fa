"""`%agent` and `%%agent` in IPython."""

from typing import Any


def load(shell: Any) -> None:
    """Registers the magics and their tab completion with a shell."""
    from .agent import AgentMagics
    from .completion import complete

    shell.register_magics(AgentMagics(shell))
    for key in ("%agent", "%%agent"):
        shell.set_hook("complete_command", complete, str_key=key)
