"""`%agent`, `%%agent` and `%%workflow` in IPython."""

from typing import Any


def load(shell: Any) -> None:
    """Registers the magics and their tab completion with a shell."""
    from .agent import AgentMagics
    from .completion import complete, complete_workflow
    from .workflow import WorkflowMagics

    shell.register_magics(AgentMagics(shell))
    # A second %load_ext must not read the first lines of cells twice.
    if "workflow" not in shell.magics_manager.magics["line"]:
        shell.register_magics(WorkflowMagics(shell))
    for key in ("%agent", "%%agent"):
        shell.set_hook("complete_command", complete, str_key=key)
    shell.set_hook("complete_command", complete_workflow, str_key="%%workflow")
