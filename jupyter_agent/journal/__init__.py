"""The truth of runs: what happened is appended here once, and followed from here by everybody."""

from .follower import Batch, Follower
from .journal import Journal
from .observer import Observer
from .places import Gap

__all__ = ["Batch", "Follower", "Gap", "Journal", "Observer"]
