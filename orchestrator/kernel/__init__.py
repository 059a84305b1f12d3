"""The kernel: ``decide(definition, document, arrival) -> Decision``. Synchronous, pure, total.

No clock, no ids, no IO: time and ids come inside the arrival. Every (status, message) pair has a written answer.
"""

from .decide import block, decide

__all__ = ["block", "decide"]
