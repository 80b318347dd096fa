"""The truth of runs: what happened is appended here once, and followed from here by everybody."""

from .follower import Batch, Follower
from .journal import Journal
from .observer import Observer
from .places import Gap
from .projection import Projection

__all__ = ["Batch", "Follower", "Gap", "Journal", "Observer", "Projection"]
