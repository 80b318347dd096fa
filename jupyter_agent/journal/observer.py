"""What a journal tells those who keep rows, and what it asks them. The rows never hold a run up."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..events import AnyEvent
from ..records import Run
from ..transcript import Transcript


class Observer(Protocol):
    """Hears of every event after it was published, in order."""

    def observe(self, event: AnyEvent, transcript: Transcript) -> None:
        """Takes notice of an event. Called on the hot path: it only takes notes."""

    def opened(self, transcript: Transcript, blobs: Iterable[str]) -> None:
        """Takes notice of a run that was read back, with the blobs that its events name: what happened before a
        restart may not be in the rows yet."""

    async def row(self, run_id: str) -> Run | None:
        """Returns the run's row, which says where its archive is; None where there is no such run."""

    async def archived(self, transcript: Transcript, detail: str, keys: Iterable[str]) -> None:
        """Records, durably and at once, where an ended run is archived, and that it refers to these blobs."""

    async def release(self, run_id: str) -> Sequence[str]:
        """Returns the blobs that a deleted run referred to and nobody else does: they may be deleted."""

    async def released(self, run_id: str, keys: Iterable[str]) -> None:
        """Takes notice that these blobs of a deleted run are gone."""

    async def deleted_runs(self) -> Sequence[str]:
        """Returns the deleted runs some of whose blobs may still be there."""
