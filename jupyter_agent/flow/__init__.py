"""Flows: processes declared as a graph of steps. What they are, what is wrong with them, and what happens next.

Plain nouns and pure functions; `runner.py` carries a flow out over them, wherever its state is kept.
"""

from .context import Context
from .decisions import decide, initial, verdict
from .faults import Fault, faults_of
from .runner import FlowRunner
from .state import FlowRun, StepState, StepStatus
from .step import Case, Default, Flow, Kind, Rule, Step

__all__ = [
    "Case",
    "Context",
    "Default",
    "Fault",
    "Flow",
    "FlowRun",
    "FlowRunner",
    "Kind",
    "Rule",
    "Step",
    "StepState",
    "StepStatus",
    "decide",
    "faults_of",
    "initial",
    "verdict",
]
