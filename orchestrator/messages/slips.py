"""The routing slip that travels with a command: what is known so far, and the stops that the worker sends it on to.

Source: Hohpe and Woolf, "Enterprise Integration Patterns" (Routing Slip).
"""

from __future__ import annotations

from dataclasses import dataclass

from .values import JsonObject

__all__ = ["Slip", "SlipStop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipStop:
    """One stop ahead, with all that a worker needs to send the slip there.

    ``takes``: field of its command -> path in the variables (``score.points``). ``into``: the variable that takes its
    reply. ``revises``: the field of its reply that may name other stops; then the slip comes home.
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
    """What travels beside one command. ``into`` and ``revises`` are those of the stop that it is at; ``incarnation`` is
    the instance's.
    """

    variables: JsonObject
    into: str | None
    revises: str | None
    ahead: tuple[SlipStop, ...]
    incarnation: str
