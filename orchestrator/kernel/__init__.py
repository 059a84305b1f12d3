"""The kernel: ``decide(definition, document, arrival) -> Decision``. Synchronous, pure, total.

No clock, no ids, no IO: time and ids come inside the arrival. Every (status, message) pair has a written answer.
"""

from .decide import decide
from .helping import decide_helper, is_helper
from .limits import Limits
from .registry import Registry
from .unusable import block, decline, deny, deny_helper

__all__ = ["Limits", "Registry", "block", "decide", "decide_helper", "decline", "is_helper", "deny", "deny_helper"]
