"""The timeline of every run that the simulation plays, whole and cut anywhere, against its records and documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise

import pytest

from sagaline.orchestrator.kernel.timeline import Lane, Timeline, timeline
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.testing.loop import run
from sagaline.sagas.tree import Tree
from tests.simulation.play import Play

SEEDS = range(20, 26)


@cache
def lives() -> Sequence[tuple[Document, Tree, Sequence[HistoryRecord]]]:
    """Every instance of some runs, with the history of its last run."""
    found = []
    for seed in SEEDS:
        play = Play(seed)
        try:
            run(play.live(), seed=seed)
            for document, definition, history in play.evidence().lives():
                times = accumulate((each.record.at_ms for each in history), max)  # some clocks were set back
                records = [replace(each.record, at_ms=at) for each, at in zip(history, times, strict=True)]
                found.append((document, definition.tree, records))
        finally:
            play.store.close()
    return found


def wrong(found: Timeline, history: Sequence[HistoryRecord]) -> Iterator[str]:
    """What is wrong with the bars of one history."""
    bars = [bar for lane in found.lanes for bar in lane.bars]
    if Counter(bar.command for bar in bars if bar.command) != Counter(each.id for one in history for each in one.sent):
        yield "a command is in no bar, or in two"
    for lane in found.lanes:
        if any(before.end_ms is None or before.end_ms > after.begin_ms for before, after in pairwise(lane.bars)):
            yield f"bars of {lane.place} overlap"
        if any(bar.end_ms is not None and bar.end_ms < bar.begin_ms for bar in lane.bars):
            yield f"a bar of {lane.place} ends before it begins"
    begins = [lane.bars[0].begin_ms for lane in found.lanes]
    if begins != sorted(begins):
        yield "lanes are not in the order of their beginning"


def open_places(found: Timeline) -> dict[str, str]:
    return {lane.place: lane.bars[-1].status for lane in found.lanes if lane.bars[-1].then is None}


@pytest.mark.slow
def test_every_command_is_in_one_bar_and_bars_of_a_node_never_overlap() -> None:
    kinds: Counter[str] = Counter()
    for document, tree, history in lives():
        found = timeline(history, tree)
        assert list(wrong(found, history)) == [], document.id
        assert (found.status, found.end_ms is None) == (document.status, document.finished_ms is None), document.id
        live = {place: each.status for place, each in document.steps.items() if each.status.is_live}
        moments = {lane.place for lane in found.lanes if lane.bars[-1].kind == "moment"}
        assert {place: status for place, status in open_places(found).items() if place not in moments} == live
        kinds.update(bar.kind for lane in found.lanes for bar in lane.bars)
        kinds.update("nested" for lane in found.lanes if lane.within)
    assert set(kinds) == {"attempt", "undo", "child", "wait", "moment", "nested"}


@pytest.mark.slow
def test_a_cut_history_has_the_bars_of_the_whole_one_as_far_as_it_goes() -> None:
    for document, tree, history in lives():
        whole = {lane.place: lane for lane in timeline(history, tree).lanes}
        for at in range(1, len(history)):
            late, early = timeline(history[at:], tree), timeline(history[:at], tree)
            assert list(wrong(late, history[at:])) == list(wrong(early, history[:at])) == [], document.id
            for lane in late.lanes:
                assert_end_of(lane, whole[lane.place], history[at].at_ms)
            for lane in early.lanes:
                bars = [replace(each, end_ms=None, then=None) for each in whole[lane.place].bars]
                assert [replace(each, end_ms=None, then=None) for each in lane.bars] == bars[: len(lane.bars)]


def assert_end_of(lane: Lane, whole: Lane, cut_ms: int) -> None:
    first, *rest = lane.bars
    of_whole, *rest_of_whole = whole.bars[-len(lane.bars) :]
    assert rest == rest_of_whole
    if first.cut:
        assert (first.begin_ms, of_whole.begin_ms <= cut_ms) == (cut_ms, True)
        first = replace(first, begin_ms=of_whole.begin_ms, command=of_whole.command, cut=False)
    assert first == of_whole


@pytest.mark.slow
def test_the_check_finds_a_lost_command_and_an_overlap() -> None:
    _, tree, history = next(life for life in lives() if any(each.sent for each in life[2]))
    found = timeline(history, tree)
    assert list(wrong(found, [replace(each, sent=()) for each in history])) != []
    doubled = replace(found, lanes=(replace(found.lanes[0], bars=[*found.lanes[0].bars, found.lanes[0].bars[0]]),))
    assert list(wrong(doubled, history)) != []
