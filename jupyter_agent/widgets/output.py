"""One display of a widget, in the output of the cell where it was made."""

import contextvars
import uuid
from typing import Any


class Output:
    """Publishes to that cell, whatever else is executed meanwhile."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._context = contextvars.copy_context()
        self._transient = {"display_id": uuid.uuid4().hex}

    def publish(self, bundle: dict[str, Any], *, update: bool) -> None:
        """Shows the bundle there, or shows it instead of what was shown."""
        self._context.copy().run(self._publisher.publish, bundle, {}, transient=self._transient, update=update)
