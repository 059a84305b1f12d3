"""Going forward: each decision visits the nodes from the first on; each one reports whether it is done.

The next node follows from the step records. There is no stored cursor that could disagree with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from ...sagas.nodes import (
    Ask,
    Child,
    Choose,
    Each,
    Emit,
    Fail,
    Loop,
    Node,
    Parallel,
    Pivot,
    Route,
    Scatter,
    Sleep,
    Step,
    Wait,
)
from ..messages.document import CauseKind, StepStatus
from ..messages.entity_messages import Published, publication
from .asking import Fault, Nothing, ask, block
from .branching import begin_choose, begin_loop, begin_parallel, begin_scatter, gather_scatter, next_round
from .children import begin_child, begin_each
from .context import DecisionContext, as_json
from .failure import fail, lose
from .locking import begin_step
from .places import place_of, rounds_of
from .results import a_key, a_model, a_text
from .rounds import forget_round, lingers
from .waiting import begin_ask, begin_route, begin_sleep, begin_wait

__all__ = ["begin", "emitted", "sequence"]


def sequence(ctx: DecisionContext, nodes: Sequence[Node[Any]], rounds: tuple[int, ...] = ()) -> bool:
    """Continues with nodes in sequence. True: all of them are done."""
    for node in nodes:
        if isinstance(node, Step):  # fast path: most nodes are steps that are done
            record = ctx.steps.get(place_of(node.name, rounds) if rounds else node.name)
            if record is not None:
                if record.status is not StepStatus.DONE:
                    return False
                continue
        if not _visit(ctx, node, rounds):
            return False
        if ctx.stopped or ctx.again:
            return False
    return True


def begin(ctx: DecisionContext, place: str) -> None:
    """Begins a node, for the first time or again after an operator's retry."""
    node = ctx.node(place)
    match node:
        case Step():
            begin_step(ctx, place)
        case Parallel():
            begin_parallel(ctx, place)
        case Choose():
            begin_choose(ctx, place, node)
        case Loop():
            begin_loop(ctx, place, node)
        case Scatter():
            begin_scatter(ctx, place, node)
        case Sleep():
            begin_sleep(ctx, place, node)
        case Wait():
            begin_wait(ctx, place, node)
        case Ask():
            begin_ask(ctx, place, node)
        case Route():
            begin_route(ctx, place, node)
        case Emit():
            _emit(ctx, place, node)
        case Fail():
            _fail(ctx, place, node)
        case Child():
            begin_child(ctx, place, node)
        case Each():
            begin_each(ctx, place, node)
        case _:
            raise AssertionError(f"the kernel does not know the kind of {node!r}")


def _visit(ctx: DecisionContext, node: Node[Any], rounds: tuple[int, ...]) -> bool:
    if isinstance(node, Pivot):
        return _pass_pivot(ctx)
    place = place_of(node.name, rounds)
    if place not in ctx.steps:
        begin(ctx, place)
    record = ctx.steps.get(place)
    if record is None or ctx.stopped:
        return False
    match node:
        case Choose() | Route() if record.status is StepStatus.DONE:
            label = (record.memo or {}).get("branch")
            return all(sequence(ctx, branch.nodes, rounds) for branch in node.branches if branch.label == label)
        case Loop() if record.status in (StepStatus.WAITING, StepStatus.DONE):
            return _rounds(ctx, node, place)
        case Parallel() if record.status in (StepStatus.WAITING, StepStatus.DONE):
            return _join(ctx, node, place)
        case Scatter() if record.status is StepStatus.WAITING:
            gather_scatter(ctx, place, node)
    return ctx.steps[place].status is StepStatus.DONE


def _pass_pivot(ctx: DecisionContext) -> bool:
    """Passes the pivot once nothing before it is in progress or still to be undone: past it nothing can be undone."""
    if not ctx.pivot_passed:
        if any(record.status.is_live for record in ctx.steps.values()):
            return False
        if any(ctx.unwinds(place) and record.undo for place, record in ctx.steps.items() if record.status.is_to_undo):
            return False
        ctx.pivot_passed = True
    return True


def _rounds(ctx: DecisionContext, node: Loop[Any], place: str) -> bool:
    outer = rounds_of(place)
    if lingers(node):
        over = int(str(ctx.memo(place)["rounds"])) - (ctx.steps[place].status is StepStatus.WAITING)
        for earlier in range(1, over + 1):  # a branch of an earlier round may still be running
            sequence(ctx, node.nodes, (*outer, earlier))
            if ctx.stopped or ctx.again:
                return False
    while ctx.steps[place].status is StepStatus.WAITING and not ctx.stopped and not ctx.again:
        here = int(str(ctx.memo(place)["rounds"]))
        if not sequence(ctx, node.nodes, (*outer, here)):
            return False
        next_round(ctx, place, node)
        if ctx.memo(place)["rounds"] != here:
            forget_round(ctx, node, (*outer, here))
    return ctx.steps[place].status is StepStatus.DONE


def _join(ctx: DecisionContext, node: Parallel[Any], place: str) -> bool:
    """Continues the branches. True: the parallel is done; branches that were not needed then end as declared."""
    joined = ctx.steps[place].status is StepStatus.DONE
    done, left = 0, []
    for branch in node.branches:
        if branch.label in ctx.lost(place):
            continue
        if sequence(ctx, branch.nodes, rounds_of(place)):
            done += 1
        else:
            left.append(branch.label)
        if ctx.stopped or ctx.again:
            return False
    if joined:
        return True
    if done < node.options.need:
        return False
    ctx.mark(place, StepStatus.DONE)
    if node.options.rest == "undo":
        for label in left:
            lose(ctx, place, label, "no longer needed")
    return True


def _fail(ctx: DecisionContext, place: str, node: Fail[Any]) -> None:
    reason = node.reason
    if not isinstance(reason, str):
        tell = reason
        asked = ask(ctx, place, f"the reason of fail {place!r}", lambda: a_text(tell(ctx.model())))
        if isinstance(asked, Nothing):
            return
        reason = asked
    ctx.mark(place, StepStatus.REJECTED, error=reason)
    fail(ctx, place, CauseKind.REJECTED, reason, code=node.code)


def _emit(ctx: DecisionContext, place: str, node: Emit[Any]) -> None:
    published = ask(ctx, place, f"emit {place!r}", lambda: emitted(ctx, node))
    if isinstance(published, Nothing):
        return
    if len(to_json(published.body)) > ctx.limits.command_bytes:
        why = f"the event of emit {place!r} is over the limit of {ctx.limits.command_bytes:,} bytes"
        block(ctx, place, CauseKind.TOO_LARGE, Fault(f"{why}; send a reference instead of the content, then retry"))
        return
    ctx.mark(place, StepStatus.DONE)
    ctx.tell(published)


def emitted(ctx: DecisionContext, node: Emit[Any]) -> Published:
    """The event of an emit. Raises whatever the author's functions raise, and ``WrongResult``."""
    model = ctx.model()
    body = a_model(node.build(model), node.event.model, f"event {node.event.name!r} is")
    key = a_key(node.key(model))
    return publication(node.event, key, as_json(body, node.event.model), id="", source=ctx.id)
