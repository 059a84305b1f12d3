"""Who is told what happens to instances, by webhook or by push: one condition for both."""

from __future__ import annotations

from typing import Protocol

from .instance_events import EventType, InstanceEvent

__all__ = ["CONDITIONS_MAX", "Receiver", "conditions_wrong", "wants"]

CONDITIONS_MAX = 50


class Receiver(Protocol):
    """All given conditions hold of an event that it gets; an empty one holds always.

    ``created``: another one for each creation under this name.
    """

    @property
    def name(self) -> str: ...
    @property
    def types(self) -> tuple[EventType, ...]: ...
    @property
    def definitions(self) -> tuple[str, ...]: ...
    @property
    def created(self) -> int: ...


def wants(receiver: Receiver, event: InstanceEvent) -> bool:
    """True when all its conditions hold."""
    return (not receiver.types or event.type in receiver.types) and (
        not receiver.definitions or event.definition in receiver.definitions
    )


def conditions_wrong(receiver: Receiver) -> str | None:
    """What is wrong with its conditions, and how to fix it; None: they are valid."""
    if max(len(receiver.types), len(receiver.definitions)) > CONDITIONS_MAX:
        return f"it has more than {CONDITIONS_MAX} types or definitions; give fewer, or none for all"
    return None
