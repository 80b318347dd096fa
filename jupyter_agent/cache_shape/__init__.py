"""The shape of a provider's prompt cache, as far as it shows: what was read of a prompt, what broke a prefix, and what
another order would have saved. Pure functions of what is stored; nothing is guessed."""

from .causes import Cause, Finding, cause_of, parting
from .overlay import Laid, lay_over
from .request import Request
from .what_if import Change, Prediction, predict

__all__ = ["Cause", "Change", "Finding", "Laid", "Prediction", "Request", "cause_of", "lay_over", "parting", "predict"]
