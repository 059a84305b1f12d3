"""Places: the names of nodes within one instance. In a loop a node has one place per round."""

from __future__ import annotations

__all__ = ["name_of", "place_of", "rounds_of"]


def place_of(name: str, rounds: tuple[int, ...]) -> str:
    """``poll`` outside of loops, ``poll@3`` in the third round, ``poll@3.2`` in round 2 of a loop inside it."""
    return f"{name}@{'.'.join(map(str, rounds))}" if rounds else name


def name_of(place: str) -> str:
    """The name of the node."""
    return place.partition("@")[0]


def rounds_of(place: str) -> tuple[int, ...]:
    """The rounds of the loops around a place, outermost first."""
    rounds = place.partition("@")[2]
    return tuple(map(int, rounds.split("."))) if rounds else ()
