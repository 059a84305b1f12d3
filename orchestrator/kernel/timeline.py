"""A run over time, from its history: for each node its bars, each one status from its beginning to its end.

A change to a status that lasts begins a bar, and the node's next change ends it: bars of one node never overlap, and
each command that was sent is in the one bar that it began. A history may be cut: what began before its first decision
begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ...sagas.tree import Tree
from ..messages.document import Status, StepStatus
from ..messages.history import HistoryRecord, SentCommand
from ..messages.outputs import ABOUT_INSTANCE, Change, place_named
from .places import around, name_of
from .transitions import STEP

__all__ = ["Bar", "BarKind", "Lane", "Timeline", "timeline"]


class BarKind(StrEnum):
    """What a bar shows. ``attempt``, ``undo``: at a worker. ``child``: child instances run. ``wait``: for an event, a
    person, a lock, its branches, the next attempt or an operator. ``moment``: it was done as soon as it began.
    """

    ATTEMPT = "attempt"
    UNDO = "undo"
    CHILD = "child"
    WAIT = "wait"
    MOMENT = "moment"


@dataclass(slots=True, kw_only=True)
class Bar:
    """One status of a node. ``end_ms`` None: it lasts. ``then``: the status that ended it; None: none, or the end of
    the instance. ``command``: the id of the command that it began with. ``cut``: it began before the history.
    """

    kind: BarKind
    status: StepStatus
    begin_ms: int
    end_ms: int | None = None
    then: StepStatus | None = None
    command: str | None = None
    cut: bool = False


@dataclass(slots=True, kw_only=True)
class Lane:
    """The bars of one place, in the order of their beginning. ``kind``: of its node; None: its code is not known.

    ``within``: the places around it, outermost first. ``status``: after its last change.
    """

    place: str
    kind: str | None
    within: tuple[str, ...]
    status: StepStatus
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The last run of a key. ``status`` None: the history has no run. ``end_ms`` None: it goes on. ``traceparent``: of
    its last decision.

    ``whole`` False: the history does not have its beginning. ``lanes``: in the order of their beginning.
    """

    status: Status | None
    begin_ms: int
    end_ms: int | None
    traceparent: str | None
    whole: bool
    lanes: tuple[Lane, ...]


def timeline(history: Sequence[HistoryRecord], tree: Tree | None) -> Timeline:
    """The bars of the last run in a history.

    Args:
        history: decisions about one id, oldest first and without a gap; it may begin or end anywhere.
        tree: of the deployed code of the instance's version; None: no lane has a ``kind`` or lies within another.
    """
    run: _Run | None = None
    at_ms = 0
    for record in history:
        at_ms = max(at_ms, record.at_ms)  # the order is that of the decisions: a clock may have been set back
        if record.status is None:
            continue  # a denied start, or the removal at the end of the retention
        run = run or _Run(tree, at_ms, whole=False)
        sent = list(record.sent)
        for change in record.changes:
            if change.what == "instance" and change.before is None:
                run = _Run(tree, at_ms, whole=True)
            elif change.what not in ABOUT_INSTANCE or _moves(tree, change):
                run.take(change, at_ms, record.instance, sent)
        run.reached(record.status, at_ms, record.traceparent)
    return (run or _Run(tree, 0, whole=True)).done()


_STATUS: dict[str | None, StepStatus] = {status.value: status for status in StepStatus}
_CHILDREN = frozenset({"run", "each"})


def _moves(tree: Tree | None, change: Change) -> bool:
    """A node has the name of such a fact, and this is its change."""
    return tree is not None and change.what in tree and change.after in STEP.get(_STATUS.get(change.before), ())


class _Run:
    def __init__(self, tree: Tree | None, begin_ms: int, *, whole: bool) -> None:
        self._tree, self._begin_ms, self._whole = tree, begin_ms, whole
        self._lanes: dict[str, Lane] = {}
        self._status: Status | None = None
        self._end_ms: int | None = None
        self._traceparent: str | None = None

    def take(self, change: Change, at_ms: int, instance: str, sent: list[SentCommand]) -> None:
        """A change of a node. The command that began its new bar is taken out of ``sent``."""
        place, after = change.what, StepStatus(change.after)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = self._lane(place, after)
            before = _STATUS.get(change.before)
            if before is not None and before.is_live:
                bar = Bar(kind=_kind(lane, before), status=before, begin_ms=self._begin_ms, cut=True)
                lane.bars.append(bar)
        last = lane.bars[-1] if lane.bars else None
        if last is not None and last.end_ms is None:
            last.end_ms, last.then = at_ms, after
        lane.status = after
        if after.is_live:
            command = _taken(sent, instance, place, after) if after.is_in_flight else None
            bar = Bar(kind=_kind(lane, after), status=after, begin_ms=at_ms, command=command)
            lane.bars.append(bar)
        elif change.before is None:
            moment = Bar(kind=BarKind.MOMENT, status=after, begin_ms=at_ms, end_ms=at_ms)
            lane.bars.append(moment)

    def reached(self, status: Status, at_ms: int, traceparent: str | None) -> None:
        """The status of the instance after a decision."""
        self._status, self._traceparent = status, traceparent or self._traceparent
        self._end_ms = None if not status.is_final else at_ms if self._end_ms is None else self._end_ms

    def done(self) -> Timeline:
        for lane in self._lanes.values():
            if lane.bars and lane.bars[-1].end_ms is None:
                lane.bars[-1].end_ms = self._end_ms
        lanes = sorted((lane for lane in self._lanes.values() if lane.bars), key=lambda lane: lane.bars[0].begin_ms)
        return Timeline(
            status=self._status,
            begin_ms=self._begin_ms,
            end_ms=self._end_ms,
            traceparent=self._traceparent,
            whole=self._whole,
            lanes=tuple(lanes),
        )

    def _lane(self, place: str, status: StepStatus) -> Lane:
        if self._tree is None or name_of(place) not in self._tree:
            return Lane(place=place, kind=None, within=(), status=status)
        within = tuple(each for _, each, _ in around(self._tree, place))
        return Lane(place=place, kind=self._tree[name_of(place)].node.kind, within=within, status=status)


def _kind(lane: Lane, status: StepStatus) -> BarKind:
    if not status.is_in_flight:
        return BarKind.WAIT
    if status is StepStatus.UNDO_SENT:
        return BarKind.UNDO
    return BarKind.CHILD if lane.kind in _CHILDREN else BarKind.ATTEMPT


def _taken(sent: list[SentCommand], instance: str, place: str, status: StepStatus) -> str | None:
    """The command of a place; None: none was sent, as by a node with children or for a later stop of a slip."""
    undo = status is StepStatus.UNDO_SENT
    for each in sent:
        if place_named(instance, each.id) == place and ("/undo/" in each.id[len(instance) :]) is undo:
            sent.remove(each)
            return each.id
    return None
