"""Going forward: every node is visited from the first on, and says whether it is done.

What comes next is derived from the records; there is no cursor to get out of step.
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
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepStatus
from ..messages.entities import Published, mailbox_id
from .asking import Fault, Nothing, ask, block
from .branching import begin_choose, begin_loop, begin_parallel, begin_scatter, gather_scatter, next_round
from .children import begin_child, begin_each
from .locking import begin_step
from .places import place_of, rounds_of
from .results import a_key, a_model, a_text
from .rounds import forget_round, lingers
from .run import Run, as_json
from .turning import fail, lose
from .waiting import begin_ask, begin_route, begin_sleep, begin_wait

__all__ = ["begin", "emitted", "sequence"]


def sequence(run: Run, nodes: Sequence[Node[Any]], rounds: tuple[int, ...] = ()) -> bool:
    """Goes on with nodes that follow each other. True: all of them are done."""
    for node in nodes:
        if isinstance(node, Step):  # most nodes are; one that is done costs no more than this
            record = run.steps.get(place_of(node.name, rounds) if rounds else node.name)
            if record is not None:
                if record.status is not StepStatus.DONE:
                    return False
                continue
        if not _visit(run, node, rounds):
            return False
        if run.stopped or run.again:
            return False
    return True


def begin(run: Run, place: str) -> None:
    """Begins a node; also again, after an operator's retry."""
    node = run.node(place)
    match node:
        case Step():
            begin_step(run, place)
        case Parallel():
            begin_parallel(run, place)
        case Choose():
            begin_choose(run, place, node)
        case Loop():
            begin_loop(run, place, node)
        case Scatter():
            begin_scatter(run, place, node)
        case Sleep():
            begin_sleep(run, place, node)
        case Wait():
            begin_wait(run, place, node)
        case Ask():
            begin_ask(run, place, node)
        case Route():
            begin_route(run, place, node)
        case Emit():
            _emit(run, place, node)
        case Fail():
            _fail(run, place, node)
        case Child():
            begin_child(run, place, node)
        case Each():
            begin_each(run, place, node)
        case _:
            raise AssertionError(f"{node!r} is a node that the kernel does not know")


def _visit(run: Run, node: Node[Any], rounds: tuple[int, ...]) -> bool:
    if isinstance(node, Pivot):
        return _pass_pivot(run)
    place = place_of(node.name, rounds)
    if place not in run.steps:
        begin(run, place)
    record = run.steps.get(place)
    if record is None or run.stopped:
        return False
    match node:
        case Choose() | Route() if record.status is StepStatus.DONE:
            label = (record.memo or {}).get("branch")
            return all(sequence(run, branch.nodes, rounds) for branch in node.branches if branch.label == label)
        case Loop() if record.status in (StepStatus.WAITING, StepStatus.DONE):
            return _rounds(run, node, place)
        case Parallel() if record.status in (StepStatus.WAITING, StepStatus.DONE):
            return _join(run, node, place)
        case Scatter() if record.status is StepStatus.WAITING:
            gather_scatter(run, place, node)
    return run.steps[place].status is StepStatus.DONE


def _pass_pivot(run: Run) -> bool:
    """The pivot is passed when nothing before it is still under way: past it nothing can be taken back."""
    if not run.pivot_passed:
        if any(record.status.is_live for record in run.steps.values()):
            return False
        if any(run.unwinds(place) and record.undo for place, record in run.steps.items() if record.status.is_to_undo):
            return False
        run.pivot_passed = True
    return True


def _rounds(run: Run, node: Loop[Any], place: str) -> bool:
    outer = rounds_of(place)
    if lingers(node):
        over = int(str(run.memo(place)["rounds"])) - (run.steps[place].status is StepStatus.WAITING)
        for earlier in range(1, over + 1):  # a branch of it may go on beside the flow
            sequence(run, node.nodes, (*outer, earlier))
            if run.stopped or run.again:
                return False
    while run.steps[place].status is StepStatus.WAITING and not run.stopped and not run.again:
        here = int(str(run.memo(place)["rounds"]))
        if not sequence(run, node.nodes, (*outer, here)):
            return False
        next_round(run, place, node)
        if run.memo(place)["rounds"] != here:
            forget_round(run, node, (*outer, here))
    return run.steps[place].status is StepStatus.DONE


def _join(run: Run, node: Parallel[Any], place: str) -> bool:
    """Goes on with the branches. One that is done stays done; those that are not needed end as was declared."""
    joined = run.steps[place].status is StepStatus.DONE
    done, left = 0, []
    for branch in node.branches:
        if branch.label in run.lost(place):
            continue
        if sequence(run, branch.nodes, rounds_of(place)):
            done += 1
        else:
            left.append(branch.label)
        if run.stopped or run.again:
            return False
    if joined:
        return True
    if done < node.options.need:
        return False
    run.mark(place, StepStatus.DONE)
    if node.options.rest == "undo":
        for label in left:
            lose(run, place, label, "not needed any more")
    return True


def _fail(run: Run, place: str, node: Fail[Any]) -> None:
    reason = node.reason
    if not isinstance(reason, str):
        tell = reason
        asked = ask(run, place, f"the reason of fail {place!r}", lambda: a_text(tell(run.model())))
        if isinstance(asked, Nothing):
            return
        reason = asked
    run.mark(place, StepStatus.REJECTED, error=reason)
    fail(run, place, CauseKind.REJECTED, reason, code=node.code)


def _emit(run: Run, place: str, node: Emit[Any]) -> None:
    published = ask(run, place, f"emit {place!r}", lambda: emitted(run, node))
    if isinstance(published, Nothing):
        return
    if len(to_json(published.body)) > run.limits.command_bytes:
        why = f"the event of emit {place!r} is over the limit of {run.limits.command_bytes:,} bytes"
        block(run, place, CauseKind.TOO_LARGE, Fault(f"{why}; send a reference instead of the content, then retry"))
        return
    run.mark(place, StepStatus.DONE)
    run.tell(published)


def emitted(run: Run, node: Emit[Any]) -> Published:
    """The event of an emit. Raises whatever the author's functions raise, or what they give deserves."""
    model = run.model()
    body = a_model(node.build(model), node.event.model, f"event {node.event.name!r} is")
    key = a_key(node.key(model))
    return Published(
        id="",
        instance=mailbox_id(node.event.name, key),
        event=node.event.name,
        key=key,
        body=as_json(body, node.event.model),
        keep_ms=to_ms(node.event.keep),
        source=run.id,
    )
