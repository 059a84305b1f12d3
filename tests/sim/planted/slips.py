"""Mistakes in the way of a routing slip: what is handed out, called back, and taken back."""

from __future__ import annotations

from .mistake import slip

__all__ = ["SLIPS"]

SLIPS = (
    slip(
        "undo a slip from its beginning",
        "orchestrator/kernel/compensation.py",
        "        return sorted(steps, key=lambda place: way.get(place, -1), reverse=True)",
        "        return sorted(steps, key=lambda place: way.get(place, -1))",
        "travelled",
    ),
    slip(
        "assume that a failed stop forwarded nothing",
        "orchestrator/kernel/slip.py",
        "    if ctx.steps[place].status is StepStatus.REJECTED:",
        "    if True:",
        "travelled",
        "effect-once",
    ),
    slip(
        "do not continue when a slip returns",
        "orchestrator/kernel/travelling.py",
        "        if record is None or record.status.is_stuck or record.status is StepStatus.DROPPED:",
        "        if record is None:",
        "ends",
        "wakes",
    ),
    slip(
        "count every stop as done",
        "orchestrator/kernel/travelling.py",
        "            begin_step(ctx, place)\n        return",
        "            begin_step(ctx, place)\n            return",
        "travelled",
        "blamed",
    ),
    slip(
        "forward a slip after a revision",
        "orchestrator/messages/forwarding.py",
        "    if revised or not slip.ahead:",
        "    if not slip.ahead:",
        "travelled",
        "effect-once",
        "compensated",
    ),
)
