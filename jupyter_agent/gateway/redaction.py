"""Keeps secrets out of the log and of what kernels print: whatever is known to be one is replaced, wherever it stands.

Known are the server's token, the tokens of kernels, and what the environment holds under names that say so. This is a
second net: no line of ours logs a secret on purpose.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable
from typing import Final

from .kernel_tokens import PREFIX

MASK: Final = "[secret]"
MIN_CHARS: Final = 8
"""Shorter values are words of the language too often."""

_NAMES: Final = re.compile(
    r"(?:_|^)(?:API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|ACCESS_KEY|CREDENTIALS?)(?:_|$)", re.IGNORECASE
)
_KERNEL_TOKEN: Final = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]+")
_HEADER: Final = re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:token|bearer|basic)\s+)[^\s'\"]+")


def secrets_of_environment() -> list[str]:
    """Returns the values of environment variables whose names say that they are secret."""
    return [value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= MIN_CHARS]


class Redaction:
    """Replaces secrets in texts. `more` tells those that are known at the moment, the server's token for one."""

    def __init__(self, more: Callable[[], Iterable[str]] = tuple) -> None:
        self._more = more
        self._fixed = secrets_of_environment()

    def __call__(self, text: str) -> str:
        for secret in (*self._fixed, *self._more()):
            if len(secret) >= MIN_CHARS and secret in text:
                text = text.replace(secret, MASK)
        text = _KERNEL_TOKEN.sub(MASK, text)
        return _HEADER.sub(rf"\1{MASK}", text)


class RedactingHandler(logging.Handler):
    """Hands our log records on to the server's log, without secrets."""

    def __init__(self, target: logging.Logger, redact: Redaction) -> None:
        super().__init__()
        self._target = target
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        if not self._target.isEnabledFor(record.levelno):
            return
        clean = logging.makeLogRecord(record.__dict__)
        clean.msg, clean.args = self._redact(record.getMessage()), None
        if record.exc_info:
            clean.exc_text = self._redact(logging.Formatter().formatException(record.exc_info))
            clean.exc_info = None
        self._target.handle(clean)


def install(target: logging.Logger, redact: Redaction) -> RedactingHandler:
    """Sends everything that jupyter_agent logs through the redaction to the server's own log."""
    ours = logging.getLogger("jupyter_agent")
    for handler in tuple(ours.handlers):
        if isinstance(handler, RedactingHandler):
            ours.removeHandler(handler)
    handler = RedactingHandler(target, redact)
    ours.addHandler(handler)
    ours.setLevel(target.getEffectiveLevel())
    ours.propagate = False
    return handler
