"""The kernel: ``decide(definition, document, arrival) -> Decision``. Synchronous, pure, total.

No clock, no ids, no IO: time and ids come inside the arrival. Every (status, message) pair has a written answer.
"""

from .decide import decide
from .entities import decide_entity, names_instance
from .limits import Limits
from .registry import Registry
from .unusable import block, decline, deny, deny_entity

__all__ = ["Limits", "Registry", "block", "decide", "decide_entity", "decline", "names_instance", "deny", "deny_entity"]
