"""Fork from a step: another instance of the same version begins there, with a key of its own.

- What lies before the step counts as done there and stays the origin's: the fork never undoes it. So the origin must
  not be able to undo it either: a fork is denied while it may still be unwound.
- The origin's decision tells the new entity to start, in the same commit; both histories name each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...sagas import Saga
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Choose, Loop, Node, Parallel, Pivot, Route
from ..messages.document import Document, Status, StepRecord, StepStatus
from ..messages.inputs import Act, Start
from ..messages.keys import key_wrong
from ..messages.outputs import Change
from ..messages.reasons import Reason, invalid, not_now
from ..messages.values import Fork, JsonObject, Origin, Taken, instance_id
from .context import DecisionContext
from .editing import patch_of, patched, unknown
from .outstanding import TAKEN_OVER, is_outstanding
from .places import name_of, place_of
from .restarting import no_begin_here
from .rounds import lingers

__all__ = ["cannot_begin", "fork", "fork_objection", "taken_over"]

_KEPT = ("branch", "version", "lost", "rounds", "most")
"""What the flow behind a node needs of its memory: which way it went."""
_SHAPE = 'a fork brings {"key": the new instance\'s}, and may bring "patch"'


def fork(ctx: DecisionContext, act: Act) -> Reason | None:
    """Tells the new instance to start. Gives the reason why it is denied, None: it is told."""
    if (reason := fork_objection(ctx.definition, ctx.document, act.step)) is not None:
        return reason
    value = act.value or {}
    if (reason := unknown(value, "a fork", ("key", "patch"))) is not None:
        return reason
    key, patch = value.get("key"), patch_of(value)
    if not isinstance(key, str):
        return invalid(_SHAPE)
    if (wrong := key_wrong(key)) is not None:
        return invalid(f"the key {wrong}")
    if key == ctx.document.key:
        return invalid(f"key {key!r} is its own; choose another")
    if isinstance(patch, Reason):
        return patch
    state = patched(ctx, ctx.state, patch)
    if isinstance(state, Reason):
        return state
    document, step = ctx.document, name_of(act.step)
    origin = Origin(instance=ctx.id, revision=document.revision + 1, step=step)
    before = _before(ctx.definition, document, step)
    ctx.tell(
        Start(
            id="",
            definition=document.definition,
            key=key,
            input=state,
            version=document.version,
            fork=Fork(
                origin=origin, taken={place: Taken(kind=record.kind, memo=_memory(record)) for place, record in before}
            ),
        )
    )
    ctx.changes.append(Change(what="fork", before=None, after=instance_id(document.definition, key)))
    return None


def fork_objection(definition: AnyDefinition, document: Document, place: str) -> Reason | None:
    """Why a fork from a place on record is denied now."""
    if (reason := no_begin_here(definition, place, "fork")) is not None:
        return reason
    text = _why_not(definition, document, place)
    return None if text is None else not_now(text)


def _why_not(definition: AnyDefinition, document: Document, place: str) -> str | None:
    if document.restarting is not None:
        return f"a restart from {document.restarting.step!r} is under way; fork when it is over"
    before = [(name, record) for name, record in document.steps.items() if not _from_on(definition, place, name)]
    if document.backward and before:
        return f"it is unwound, and what lies before {place!r} with it"
    under_way = [name for name, record in before if record.status.is_live]
    if under_way:
        return f"{', '.join(under_way)} before it is under way still"
    if (to_come := _to_come(document.steps, _flow_before(definition, place))) is not None:
        return f"{to_come} before it is not done yet"
    undoable = [name for name, record in before if record.undo is not None and is_outstanding(definition, name, record)]
    if undoable and _may_turn(document):
        return (
            f"it may still be unwound, and with it {', '.join(undoable)}; fork when it has ended or is past its pivot"
        )
    return None


def _flow_before(definition: AnyDefinition, place: str) -> list[Node[Any]]:
    flow = definition.flow if isinstance(definition, Saga) else ()
    return [node for node in flow if not _from_on(definition, place, node.name)]


def _to_come(steps: Mapping[str, StepRecord], nodes: Sequence[Node[Any]], rounds: tuple[int, ...] = ()) -> str | None:
    """The first place among nodes that follow each other which the walk would begin or wait for; None: all is over.

    A parallel may be done while a branch of it goes on beside the flow, and that one may be between two steps.
    """
    for node in nodes:
        if isinstance(node, Pivot):
            continue
        place = place_of(node.name, rounds)
        record = steps.get(place)
        if record is None or record.status is not StepStatus.DONE:
            return place
        for inner, within in _gone_into(node, record.memo or {}, rounds):
            if (found := _to_come(steps, inner, within)) is not None:
                return found
    return None


def _gone_into(
    node: Node[Any], memo: JsonObject, rounds: tuple[int, ...]
) -> Iterator[tuple[Sequence[Node[Any]], tuple[int, ...]]]:
    """What of a node that is done was gone into: branches, or the rounds of a loop."""
    match node:
        case Loop() if lingers(node):  # of another nothing is to come, and what left nothing is forgotten
            yield from ((node.nodes, (*rounds, number)) for number in range(1, int(str(memo.get("rounds", 0))) + 1))
        case Parallel():
            lost = memo.get("lost")
            yield from (
                (each.nodes, rounds)
                for each in node.branches
                if not isinstance(lost, Mapping) or each.label not in lost
            )
        case Choose() | Route():
            yield from ((each.nodes, rounds) for each in node.branches if each.label == memo.get("branch"))
        case _:
            pass


def _may_turn(document: Document) -> bool:
    """True while something can still make it undo what it did: a failure, a cancel, or its parent."""
    if document.pivot_passed:
        return False
    return not document.status.is_final or (document.status is Status.COMPLETED and document.parent is not None)


def _from_on(definition: AnyDefinition, start: str, place: str) -> bool:
    return definition.tree.from_on(name_of(start), name_of(place))


def _before(definition: AnyDefinition, document: Document, step: str) -> list[tuple[str, StepRecord]]:
    """What is done before a step, in order of completion."""
    done = [
        (place, record)
        for place, record in document.steps.items()
        if record.status is StepStatus.DONE and not _from_on(definition, step, place)
    ]
    return sorted(done, key=lambda each: each[1].order or 0)


def _memory(record: StepRecord) -> JsonObject:
    return {name: value for name, value in (record.memo or {}).items() if name in _KEPT}


def cannot_begin(definition: AnyDefinition, start: Fork) -> str | None:
    """Why the deployed code cannot begin a fork; None: it can."""
    gone = [place for place in (*start.taken, start.origin.step) if name_of(place) not in definition.tree]
    return f"it cannot begin in the middle: {definition!r} has no step {name_of(gone[0])!r}" if gone else None


def taken_over(start: Fork, now_ms: int) -> dict[str, StepRecord]:
    """The steps that a forked instance begins with: done, with nothing to undo."""
    return {
        place: StepRecord(
            status=StepStatus.DONE,
            at_ms=now_ms,
            kind=taken.kind,
            order=order,
            memo={**taken.memo, TAKEN_OVER: start.origin.instance},
        )
        for order, (place, taken) in enumerate(start.taken.items(), start=1)
    }
