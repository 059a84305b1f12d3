"""The kernel: ``decide(definition, document, arrival) -> Decision``. Synchronous, pure, total.

No clock, no ids, no IO: time and ids come inside the arrival. Every (status, message) pair has a written answer.
"""

from .decide import block, decide
from .helping import decide_helper, is_helper
from .limits import Limits
from .registry import Registry

__all__ = ["Limits", "Registry", "block", "decide", "decide_helper", "is_helper"]
