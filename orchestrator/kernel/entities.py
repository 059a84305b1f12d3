"""``decide_entity``: one message, one mailbox, lock or table, one answer. Total, as ``decide`` is for instances."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..messages.entities import Entity, Lock, Mailbox, Table
from ..messages.entity_messages import Acquire, Lookup, ProbeLock, Published, Release, SetRules, Unwatch, Watch
from ..messages.inputs import Arrival, TimerFired
from ..messages.outputs import Answer, Outcome
from ..messages.reasons import ReasonCode
from .limits import Limits
from .lock import decide_lock
from .mailbox import decide_mailbox, forget
from .table import decide_table

__all__ = ["decide_entity", "names_instance"]

_DEFAULT = Limits()


def names_instance(id: str) -> bool:
    """True for the id of an instance; those of mailboxes, locks and tables begin with ``@``."""
    return not id.startswith("@")


def decide_entity(
    entity: Entity | None,
    arrival: Arrival,
    limits: Limits = _DEFAULT,
    subscribers: Sequence[str] = (),
    branches: Collection[str] = (),
) -> Answer:
    """Decides what happens to a mailbox, a lock or a table when a message arrives.

    Args:
        entity: the current one; None: there is none.
        arrival: the message and the time.
        limits: see ``Limits``.
        subscribers: instances of process managers that get a published event whether they wait for it or not.
        branches: that rules for a table may name.
    """
    match arrival.message, entity:
        case (Published() | Watch() | Unwatch()) as message, (Mailbox() | None) as box:
            return decide_mailbox(box, message, arrival.now_ms, limits, subscribers)
        case (Acquire() | Release() | ProbeLock()) as message, (Lock() | None) as lock:
            return decide_lock(lock, message, arrival.now_ms)
        case (Lookup() | SetRules()) as message, (Table() | None) as table:
            return decide_table(table, message, arrival.now_ms, branches)
        case TimerFired() as timer, Mailbox() as box:
            if box.timers.get(timer.timer) == timer.due_ms and timer.due_ms <= arrival.now_ms:
                return forget(box, arrival.now_ms)
            text = "the timer is not set, or not due yet"
            return Answer(entity=box, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=text)
        case message, _:
            text = f"a message of kind {message.kind!r} is not for {message.instance!r}"
            return Answer(entity=entity, outcome=Outcome.IGNORED, code=ReasonCode.MISDIRECTED, reason=text)
