"""The words of a workflow script, over a Host: plain data and plain functions, in a kernel and on the server alike.

Nothing here does I/O. What a word does is the Host's business: the client's goes to the gateway, the sandbox's is
answered by the server. The text of `prelude.py` is run by both, so it stays in the portable language.
"""

from .attachment import Attachment
from .call import DEFAULT_TIMEOUT_S, MAX_AT_ONCE, MAX_CALLS, MAX_ITEMS, MAX_TRIES, PEOPLE, AgentCall
from .host import BudgetView, Host
from .people import gate_call, question_call, verdict, workflow_call
from .prelude import parallel, pipeline
from .schema import schema_of
from .words import Pending, Words, prelude_source

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "MAX_AT_ONCE",
    "MAX_CALLS",
    "MAX_ITEMS",
    "MAX_TRIES",
    "PEOPLE",
    "AgentCall",
    "Attachment",
    "BudgetView",
    "Host",
    "Pending",
    "Words",
    "gate_call",
    "parallel",
    "pipeline",
    "prelude_source",
    "question_call",
    "schema_of",
    "verdict",
    "workflow_call",
]
