"""Which mutant is switched on in this process: what every mutated function asks when it is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

__all__ = ["MutantDict", "Switch", "mutated", "switch"]

MutantDict: TypeAlias = dict[str, Callable[..., Any]]
"""The bodies of one function by their names; ``_mutmut_orig`` is the true one."""


class Switch:
    """One for each process. ``mutant`` is a full name, module included; the empty one is the true program."""

    def __init__(self) -> None:
        self.mutant = ""


switch = Switch()


def mutated(bodies: MutantDict) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator of every mutated function: calls the body that is switched on. ``bodies`` is filled after it."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        known: MutantDict = {}

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not known:
                known.update({f"{function.__module__}.{each}": body for each, body in bodies.items()})
            return known.get(switch.mutant, bodies["_mutmut_orig"])(*args, **kwargs)

        return call

    return wrapped
