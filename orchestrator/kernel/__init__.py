"""The kernel: ``decide(definition, document, arrival) -> Decision``. Synchronous, pure, total.

No clock, no ids, no I/O: time and ids come with the arrival. Every pair of status and message has a defined answer.
How it works: ``decide.py``.
"""

from .decide import decide
from .entities import decide_entity, is_timeless, names_instance
from .limits import Limits
from .registry import Registry
from .runs import runs_again
from .unusable import block, decline, deny, deny_entity

__all__ = [
    "Limits",
    "Registry",
    "block",
    "decide",
    "decide_entity",
    "decline",
    "deny",
    "deny_entity",
    "is_timeless",
    "names_instance",
    "runs_again",
]
