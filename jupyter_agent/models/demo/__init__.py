"""The `demo` model: a small, honest, rule-based stand-in that needs no key and no network."""

from .model import DemoModel

__all__ = ["DemoModel"]
