"""Finished rounds of a loop: records that are no longer needed are removed, so that a loop that only polls or waits can
run for long. Places with an undo, an outstanding effect or a lock stay on record.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...sagas.nodes import Loop, Node, Parallel
from .context import DecisionContext
from .ending import locks_at
from .outstanding import is_outstanding
from .places import name_of, rounds_of

__all__ = ["forget_round", "lingers"]


@lru_cache(maxsize=4096)
def lingers(node: Node[Any]) -> bool:
    """True when the node contains a parallel that may be done while some of its branches still run."""
    if isinstance(node, Parallel) and node.options.rest == "finish" and node.options.need < len(node.branches):
        return True
    return any(lingers(inner) for branch in node.branches for inner in branch.nodes)


def forget_round(ctx: DecisionContext, node: Loop[Any], rounds: tuple[int, ...]) -> None:
    """Removes the records of a finished round that are no longer needed; none while any of it may still run."""
    here = [place for place in ctx.steps if rounds_of(place)[: len(rounds)] == rounds and _lies_in(ctx, node, place)]
    if lingers(node) or any(ctx.steps[place].status.is_live for place in here):
        return
    for place in here:
        record = ctx.steps[place]
        kept = record.undo is not None or is_outstanding(ctx.definition, place, record) or locks_at(record.memo or {})
        if not kept and not isinstance(ctx.node(place), Parallel):  # a parallel records which branches are lost
            ctx.clear_timers(place)
            del ctx.steps[place]


def _lies_in(ctx: DecisionContext, node: Loop[Any], place: str) -> bool:
    return any(around is node for around, _ in ctx.definition.tree[name_of(place)].path)
