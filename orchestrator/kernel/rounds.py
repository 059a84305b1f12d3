"""Rounds of a loop that are over: what nothing will look at again is forgotten, so that a loop that only looks or waits
may go on for long. What has an undo, may stand outside, or holds a lock stays on record.
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
    """True when a parallel in it may be done while branches of it end beside the flow."""
    if isinstance(node, Parallel) and node.options.rest == "finish" and node.options.need < len(node.branches):
        return True
    return any(lingers(inner) for branch in node.branches for inner in branch.nodes)


def forget_round(ctx: DecisionContext, node: Loop[Any], rounds: tuple[int, ...]) -> None:
    """Forgets of a round what left nothing behind; all of it stays where something is under way or may linger."""
    here = [place for place in ctx.steps if rounds_of(place)[: len(rounds)] == rounds and _lies_in(ctx, node, place)]
    if lingers(node) or any(ctx.steps[place].status.is_live for place in here):
        return
    for place in here:
        record = ctx.steps[place]
        kept = record.undo is not None or is_outstanding(ctx.definition, place, record) or locks_at(record.memo or {})
        if not kept and not isinstance(ctx.node(place), Parallel):  # it knows which branches are lost
            ctx.clear_timers(place)
            del ctx.steps[place]


def _lies_in(ctx: DecisionContext, node: Loop[Any], place: str) -> bool:
    return any(around is node for around, _ in ctx.definition.tree[name_of(place)].path)
