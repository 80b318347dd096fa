"""Workflows on the server: their scripts, the sandbox that carries them out, and what their calls were answered.

In Python's hands this name is `ja.workflow("name")`, the workflow in this process.
"""

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _Workflow(ModuleType):
    """This package as `ja.workflow`, which the front door has from the client."""

    def __call__(self, name: str, **given: Any) -> Any:
        """Returns the workflow of this name in this process: its words, and what its calls were answered and why."""
        return import_module("jupyter_agent")._workflow()(name, **given)

    @property
    def __signature__(self) -> Signature:
        """What can be given, for help and completion."""
        return signature(import_module("jupyter_agent")._workflow())


sys.modules[__name__].__class__ = _Workflow
