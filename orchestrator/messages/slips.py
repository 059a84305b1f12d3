"""The routing slip that travels with a command: the variables so far, and the stops that workers forward it to.

Source: Hohpe and Woolf, "Enterprise Integration Patterns" (Routing Slip).
"""

from __future__ import annotations

from dataclasses import dataclass

from .values import JsonObject

__all__ = ["Slip", "SlipStop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipStop:
    """One stop ahead, with everything that a worker needs to forward the slip to it.

    ``takes``: field of its command -> path in the variables (``score.points``). ``into``: the variable for its reply.
    ``revises``: the field of its reply that may name other stops; then the slip goes home.
    """

    place: str
    contract: str
    queue: str
    attempt: int
    deadline_ms: int
    takes: dict[str, str]
    into: str | None = None
    revises: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """The slip beside one command. ``into`` and ``revises``: of the current stop; ``incarnation``: of the instance."""

    variables: JsonObject
    into: str | None
    revises: str | None
    ahead: tuple[SlipStop, ...]
    incarnation: str
