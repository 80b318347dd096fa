"""Language models behind one protocol, offline ones included."""

from .catalog import ModelCatalog
from .contract import (
    CallEnded,
    CallPiece,
    CallStarted,
    Finished,
    Model,
    ModelInfo,
    ModelRequest,
    Models,
    Piece,
    TextPiece,
    ThinkingPiece,
    UsageSoFar,
)

__all__ = [
    "CallEnded",
    "CallPiece",
    "CallStarted",
    "Finished",
    "Model",
    "ModelCatalog",
    "ModelInfo",
    "ModelRequest",
    "Models",
    "Piece",
    "TextPiece",
    "ThinkingPiece",
    "UsageSoFar",
]
