"""Fork from a step: a new instance of the same version begins there, with a key of its own.

- The steps before it count as done in the fork and belong to the origin: the fork never undoes them. The origin must
  not undo them either, so a fork is denied while the origin may still be compensated.
- The origin's decision sends the start of the new instance in the same commit; both histories name each other.
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
"""The fields of a node's memo that the rest of the flow needs: which branch it took."""
_SHAPE = 'a fork needs {"key": the key of the new instance}; "patch" is optional'


def fork(ctx: DecisionContext, act: Act) -> Reason | None:
    """Sends the start of the new instance. Returns the reason if the fork is denied; None: it was sent."""
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
        return invalid(f"key {key!r} is the key of the instance itself; choose another")
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
        return f"a restart from {document.restarting.step!r} is in progress; fork when it is over"
    before = [(name, record) for name, record in document.steps.items() if not _from_on(definition, place, name)]
    if document.backward and before:
        return f"it is compensating, and the steps before {place!r} are undone too"
    under_way = [name for name, record in before if record.status.is_live]
    if under_way:
        return f"the steps before it must be done; in progress: {', '.join(under_way)}"
    if (to_come := _to_come(document.steps, _flow_before(definition, place))) is not None:
        return f"the steps before it must be done; not done yet: {to_come}"
    undoable = [name for name, record in before if record.undo is not None and is_outstanding(definition, name, record)]
    if undoable and _may_turn(document):
        return (
            f"it may still be compensated, which would undo {', '.join(undoable)}; "
            "fork when it has ended or is past its pivot"
        )
    return None


def _flow_before(definition: AnyDefinition, place: str) -> list[Node[Any]]:
    flow = definition.flow if isinstance(definition, Saga) else ()
    return [node for node in flow if not _from_on(definition, place, node.name)]


def _to_come(steps: Mapping[str, StepRecord], nodes: Sequence[Node[Any]], rounds: tuple[int, ...] = ()) -> str | None:
    """The first place in a sequence of nodes that is not done; None: all are done.

    A parallel may be done while one of its branches is still running, even one between two steps.
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
    """The branches, or the rounds of a loop, that a finished node has entered."""
    match node:
        case Loop() if lingers(node):  # other loops have nothing left to run, and forget rounds
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
    """True while the instance can still be compensated: by a failure, a cancel, or its parent."""
    if document.pivot_passed:
        return False
    return not document.status.is_final or (document.status is Status.COMPLETED and document.parent is not None)


def _from_on(definition: AnyDefinition, start: str, place: str) -> bool:
    return definition.tree.from_on(name_of(start), name_of(place))


def _before(definition: AnyDefinition, document: Document, step: str) -> list[tuple[str, StepRecord]]:
    """The places that are done before a step, in order of completion."""
    done = [
        (place, record)
        for place, record in document.steps.items()
        if record.status is StepStatus.DONE and not _from_on(definition, step, place)
    ]
    return sorted(done, key=lambda each: each[1].order or 0)


def _memory(record: StepRecord) -> JsonObject:
    return {name: value for name, value in (record.memo or {}).items() if name in _KEPT}


def cannot_begin(definition: AnyDefinition, start: Fork) -> str | None:
    """Why the deployed code cannot begin this fork; None: it can."""
    gone = [place for place in (*start.taken, start.origin.step) if name_of(place) not in definition.tree]
    return f"the fork cannot begin: {definition!r} has no step {name_of(gone[0])!r}" if gone else None


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
