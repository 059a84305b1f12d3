"""The law of forks: each fork starts one new instance, which never does or undoes the steps it has taken over.

It uses its own model: the steps before a step come from the flow, their results from the recorded changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sagaline.orchestrator.kernel.places import name_of, rounds_of
from sagaline.orchestrator.messages.document import Document, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName, Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import Child, Each, Loop

from .generations import Restarts, leaves_nothing
from .mended import patched
from .witness import Decided, Evidence

__all__ = ["forked", "is_taken_over"]

_BEGAN = frozenset({Outcome.APPLIED, Outcome.DEFERRED})
"""With these an instance is there; put off, it waits for its code."""


def is_taken_over(definition: AnyDefinition, document: Document, place: str) -> bool:
    """True when a place of an instance is before the step at which the fork began."""
    origin = document.origin
    if origin is None or name_of(place) not in definition.tree:
        return False
    return not Restarts(definition).lies_from(origin.step, place)


@dataclass(frozen=True, slots=True)
class _Fork:
    """One that was carried out. ``number``: of the decision in the origin's history. ``lent``: what was done before.
    ``forgotten``: what of it the origin need not remember any more.
    """

    act: Act
    definition: AnyDefinition
    revision: int
    number: int
    step: str
    lent: frozenset[str]
    forgotten: frozenset[str]
    instance: str


def forked(found: Evidence) -> Iterator[str]:
    """A fork starts one instance with the earlier steps taken over, and no instance undoes these. Finished rounds of a
    loop may be dropped, except those with effects outside.
    """
    forks: dict[tuple[str, int], _Fork] = {}
    first: set[str] = set()
    for document, definition, history in found.lives():
        if len(history) == len(found.history[document.id]):
            first.add(document.id)
        for fork in _forks(document, definition, history):
            forks[document.id, fork.revision] = fork
            yield from _lender(document.id, history, fork)
            yield from _born(found, document, fork)
    for document in found.documents.values():
        origin = document.origin
        if origin is None or origin.instance not in first:
            continue
        asked = forks.get((origin.instance, origin.revision))
        if asked is None or asked.instance != document.id:
            yield f"{document.id} is forked from {origin.instance} at {origin.revision}, and nobody asked for it"


def _forks(document: Document, definition: AnyDefinition, history: Sequence[Decided]) -> Iterator[_Fork]:
    """Follows an instance and yields its forks."""
    restarts = Restarts(definition)
    status: dict[str, str] = {}
    for number, record in enumerate(decided.record for decided in history):
        act = record.message
        if isinstance(act, Start) and act.fork is not None and not status and record.outcome in _BEGAN:
            status.update((place, StepStatus.DONE) for place in act.fork.taken)
        restarts.decided(record)
        for change in record.changes:
            if (step := restarts.ends_with(change)) is not None:
                status = {place: each for place, each in status.items() if not restarts.lies_from(step, place)}
            if name_of(change.what) in definition.tree:
                status[change.what] = change.after
        if isinstance(act, Act) and act.act is ActName.FORK and record.outcome is Outcome.APPLIED:
            step = name_of(act.step)
            before = [place for place in status if not restarts.lies_from(step, place)]
            lent = frozenset(place for place in before if status[place] == StepStatus.DONE)
            yield _Fork(
                act=act,
                definition=definition,
                revision=record.revision,
                number=number,
                step=step,
                lent=lent,
                forgotten=lent & _forgotten(definition, before),
                instance=f"{document.definition}/{(act.value or {}).get('key')}",
            )


def _forgotten(definition: AnyDefinition, places: Collection[str]) -> frozenset[str]:
    """What did nothing outside, in rounds of a loop that others have followed."""
    newest: dict[tuple[str, tuple[int, ...]], int] = {}
    rounds = {place: list(_rounds(definition, place)) for place in places}
    for loop, number in (each for around in rounds.values() for each in around):
        newest[loop] = max(number, newest.get(loop, 0))
    over = (place for place, around in rounds.items() if any(number < newest[loop] for loop, number in around))
    return frozenset(place for place in over if not _acts(definition, place))


def _rounds(definition: AnyDefinition, place: str) -> Iterator[tuple[tuple[str, tuple[int, ...]], int]]:
    """The loops around a place, each with its outer rounds and the round of the place."""
    rounds = rounds_of(place)
    loops = (node.name for node, _ in definition.tree[name_of(place)].path if isinstance(node, Loop))
    for depth, (name, number) in enumerate(zip(loops, rounds, strict=True)):
        yield (name, rounds[:depth]), number


def _lender(instance: str, history: Sequence[Decided], fork: _Fork) -> Iterator[str]:
    """The origin undoes nothing that a fork has taken over."""
    for record in (decided.record for decided in history[fork.number + 1 :]):
        for change in record.changes:
            if change.what in fork.lent and change.after == StepStatus.UNDO_SENT:
                yield f"{instance} undoes {change.what}, which {fork.instance} has taken over"


def _born(found: Evidence, document: Document, fork: _Fork) -> Iterator[str]:
    instance = document.id
    history = found.history.get(fork.instance, ())
    began = [
        (decided.record, decided.record.message)
        for decided in history
        if isinstance(decided.record.message, Start) and _is_of(decided.record.message, instance, fork.revision)
    ]
    outcomes = [record.outcome for record, _ in began if record.status is not None]
    if not outcomes or outcomes[0] not in _BEGAN:
        yield f"{instance} is forked from {fork.step}, and {fork.instance} has not begun"
        return
    start = began[0][1]
    assert start.fork is not None
    if not fork.lent - fork.forgotten <= set(start.fork.taken) <= fork.lent:
        yield f"{fork.instance} takes over {sorted(start.fork.taken)}, and {instance} has done {sorted(fork.lent)}"
    state = _state_of(found.seen(document), fork)
    if state is not None and start.input != state:
        yield f"{fork.instance} begins with {start.input}, and should with {state}"
    yield from _untouched(found, fork, history)


def _is_of(start: Start, instance: str, revision: int) -> bool:
    origin = start.fork.origin if start.fork is not None else None
    return origin is not None and (origin.instance, origin.revision) == (instance, revision)


def _state_of(versions: Mapping[int, Document], fork: _Fork) -> Mapping[str, object] | None:
    """The first state of the new instance; None: the origin's state is no longer stored."""
    origin = versions.get(fork.revision)
    return patched(fork.definition, origin.state, fork.act.value) if origin is not None else None


def _untouched(found: Evidence, fork: _Fork, history: Sequence[Decided]) -> Iterator[str]:
    """A fork does and undoes nothing that it has taken over, except read-only steps.

    Earlier steps that the origin has not done run in the fork only after a restart that goes back to another branch.
    """
    definition, restarts = fork.definition, Restarts(fork.definition)
    goes_back = False
    for record in (decided.record for decided in history):
        restarts.decided(record)
        for change in record.changes:
            if (step := restarts.ends_with(change)) is not None:
                goes_back = goes_back or not restarts.lies_from(fork.step, step)
            if not _acts(definition, change.what) or restarts.lies_from(fork.step, change.what):
                continue
            begins = change.after in (StepStatus.SENT, StepStatus.UNDO_SENT)
            if begins and (change.what in fork.lent or not goes_back):
                yield f"{fork.instance} begins at {fork.step}, and {change.what} before it is {change.after}"
    document = found.documents.get(fork.instance)
    for place in fork.lent if document is not None and document.origin is not None else ():
        there = document.steps.get(place) if document is not None else None
        if _acts(definition, place) and (there is None or there.status is not StepStatus.DONE):
            yield f"{fork.instance} has taken over {place}, which is {there.status if there else 'not on record'}"


def _acts(definition: AnyDefinition, place: str) -> bool:
    """True when a place has an effect outside."""
    name = name_of(place)
    if name not in definition.tree or leaves_nothing(definition, place):
        return False
    return name in definition.steps or isinstance(definition.tree[name].node, Child | Each)
