"""The law of delayed messages, on the history of their parcels and the topic that they are forwarded to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sagaline.orchestrator.messages.inputs import TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.parcels import Posted, Reschedule, delayed_id

from .witness import Decided, Evidence

__all__ = ["delayed"]


def delayed(found: Evidence) -> Iterator[str]:
    expected: Counter[str] = Counter()
    for id, history in found.history.items():
        if id.startswith("@parcel/"):
            for late_ms in _forwarded(history):
                expected[id] += 1
                if late_ms < 0:
                    yield f"{id} was forwarded {-late_ms} ms early"
    came = Counter(delayed_id((record.key or b"").decode()) for record in found.later)
    for id in expected | came:
        if came[id] != expected[id]:
            yield f"{id} was forwarded {came[id]} times, and decided to be {expected[id]} times"
    for record in found.later:
        if record.value != record.key or record.headers:
            yield f"{record.key!r} was not forwarded as it was given"


def _forwarded(history: Sequence[Decided]) -> Iterator[int]:
    """For each decision that ends a parcel by delivering it: how long after its time."""
    due_ms = 0
    for decided in history:
        record, message = decided.record, decided.record.message
        if record.outcome is not Outcome.APPLIED:
            continue
        if isinstance(message, Posted | Reschedule):
            due_ms = message.due_ms or 0
        if record.revision == 0 and isinstance(message, Posted | Reschedule | TimerFired):
            yield record.at_ms - due_ms
