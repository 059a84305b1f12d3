"""What is overdue: steps that were expected to be done by now, ``step(…, expected_within=…)``."""

from __future__ import annotations

from ..kernel.run import LIVE
from ..messages.document import Document
from .results import Overdue

__all__ = ["overdue_steps"]


def overdue_steps(document: Document) -> list[Overdue]:
    """Those of one instance, in the order in which they began; none of an instance that has ended."""
    found = []
    for place, record in ({} if document.status.is_final else document.steps).items():
        overdue_ms = (record.memo or {}).get("overdue_ms")
        if isinstance(overdue_ms, int) and record.status in LIVE:
            found.append(
                Overdue(
                    instance=document.id,
                    step=place,
                    status=record.status.value,
                    since_ms=record.at_ms,
                    overdue_ms=overdue_ms,
                    deadline_ms=document.timers.get(f"{place}:deadline"),
                )
            )
    return found
