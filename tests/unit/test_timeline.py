"""Bars of a run: what a history says of a node, and the route that shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.client import RestClient
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.kernel.timeline import Bar, BarKind, Timeline, timeline
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import Change, Outcome
from sagaline.sagas.nodes import choose, loop, when
from sagaline.sagas.tree import Tree

from .kernel_nodes import flow_of, leg
from .stack import Stack, order, stack

ITEM = "/v1/instances/order-checkout/A-1"


def row(
    at_ms: int,
    *changes: tuple[str, str | None, str],
    status: Status | None = Status.RUNNING,
    sent: tuple[str, ...] = (),
) -> HistoryRecord:
    return HistoryRecord(
        instance="talk/k",
        revision=1,
        at_ms=at_ms,
        outcome=Outcome.APPLIED,
        status=status,
        message=None,
        changes=tuple(Change(what=what, before=before, after=after) for what, before, after in changes),
        sent=tuple(SentCommand(id=id, contract="c", queue="q") for id in sent),
    )


BEGUN = row(10, ("instance", None, "running"), ("b", None, "sent"), sent=("talk/k/b~x/1",))
FAILED = row(20, ("b", "sent", "backoff"))
AGAIN = row(30, ("b", "backoff", "sent"), sent=("talk/k/b~x/2",))
DONE = row(40, ("b", "sent", "done"), ("pick", None, "done"), ("c", None, "waiting"))
UNDOING = row(
    50, ("instance", "running", "compensating"), ("c", "waiting", "dropped"), ("b", "done", "undo_sent"),
    status=Status.COMPENSATING, sent=("talk/k/b~x/undo/1",),
)  # fmt: skip
OVER = row(60, ("b", "undo_sent", "undone"), ("instance", "compensating", "compensated"), status=Status.COMPENSATED)
HISTORY = [BEGUN, FAILED, AGAIN, DONE, UNDOING, OVER]


def bars(found: Timeline, place: str) -> list[Bar]:
    return next(lane.bars for lane in found.lanes if lane.place == place)


def test_each_attempt_backoff_and_undo_is_a_bar_of_its_own() -> None:
    found = timeline(HISTORY, None)
    assert [(bar.kind, bar.begin_ms, bar.end_ms, bar.then, bar.command) for bar in bars(found, "b")] == [
        (BarKind.ATTEMPT, 10, 20, StepStatus.BACKOFF, "talk/k/b~x/1"),
        (BarKind.WAIT, 20, 30, StepStatus.SENT, None),
        (BarKind.ATTEMPT, 30, 40, StepStatus.DONE, "talk/k/b~x/2"),
        (BarKind.UNDO, 50, 60, StepStatus.UNDONE, "talk/k/b~x/undo/1"),
    ]
    assert [(bar.kind, bar.begin_ms, bar.end_ms) for bar in bars(found, "pick")] == [(BarKind.MOMENT, 40, 40)]
    assert [lane.place for lane in found.lanes] == ["b", "pick", "c"]
    assert (found.status, found.begin_ms, found.end_ms, found.whole) == (Status.COMPENSATED, 10, 60, True)


def test_what_lasts_has_no_end_and_the_end_of_the_instance_ends_it() -> None:
    assert bars(timeline(HISTORY[:4], None), "c")[0].end_ms is None
    abandoned = row(90, ("instance", "attention", "abandoned"), status=Status.ABANDONED)
    found = timeline([*HISTORY[:4], abandoned, row(99, status=None)], None)
    assert [(bar.end_ms, bar.then) for bar in bars(found, "c")] == [(90, None)]
    assert (found.status, found.end_ms) == (Status.ABANDONED, 90)


def test_what_began_before_the_history_begins_with_it() -> None:
    found = timeline(HISTORY[4:], None)
    assert [(bar.kind, bar.begin_ms, bar.end_ms, bar.cut) for bar in bars(found, "c")] == [(BarKind.WAIT, 50, 50, True)]
    assert not found.whole


def test_a_key_that_began_anew_shows_its_last_run() -> None:
    found = timeline([*HISTORY, row(500, ("instance", None, "running"), ("c", None, "waiting"))], None)
    assert [lane.place for lane in found.lanes] == ["c"]
    assert (found.begin_ms, found.end_ms) == (500, None)


def test_times_never_run_backwards() -> None:
    """The order is that of the decisions; a clock that was set back makes no bar that ends before it begins."""
    found = timeline([replace(BEGUN, at_ms=1_000), FAILED, AGAIN], None)
    assert [(bar.begin_ms, bar.end_ms) for bar in bars(found, "b")] == [(1_000, 1_000), (1_000, 1_000), (1_000, None)]


def test_facts_about_the_instance_are_no_lanes_but_nodes_with_their_names_are() -> None:
    facts = [
        row(11, ("phase", None, "waiting"), ("queued", None, "done"), ("overdue", None, "b"), ("state", None, "edited"))
    ]
    assert [lane.place for lane in timeline([BEGUN, *facts], None).lanes] == ["b"]
    tree = flow_of(leg("b"), leg("state")).tree
    moved = row(12, ("state", None, "edited"), ("state", None, "sent"), sent=("talk/k/state~x/1",))
    assert [lane.place for lane in timeline([BEGUN, moved], tree).lanes] == ["b", "state"]


def test_a_lane_names_the_nodes_around_it_with_their_rounds() -> None:
    inner = choose(when(lambda s: True, leg("b"), name="case"), otherwise=None, name="pick")
    tree: Tree = flow_of(loop(inner, while_=lambda s: True, name="poll", rounds_max=3)).tree
    history = [
        row(
            1, ("instance", None, "running"), ("poll", None, "waiting"), ("pick@1", None, "done"), ("b@1", None, "sent")
        ),
        row(2, ("b@1", "sent", "done"), ("pick@2", None, "done"), ("b@2", None, "sent")),
    ]
    found = {lane.place: (lane.kind, lane.within) for lane in timeline(history, tree).lanes}
    assert found["b@2"] == ("step", ("poll", "pick@2"))
    assert found["poll"] == ("loop", ())


def test_an_empty_history_has_no_run() -> None:
    assert timeline([], None) == Timeline(status=None, begin_ms=0, end_ms=None, traceparent=None, whole=True, lanes=())


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        await made.client.start("order-checkout", order(), key="A-1")
        for act in (ActName.PAUSE, ActName.RESUME):
            await made.client.act("order-checkout/A-1", act, by="ann")
        await made.projector.caught_up(timeout=30)
        yield made


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_the_route_has_the_bars_of_the_history(up: Stack, api: httpx.AsyncClient) -> None:
    found = (await api.get(f"{ITEM}/timeline")).json()
    assert (found["id"], found["status"], found["end"]) == ("order-checkout/A-1", "running", None)
    assert (found["whole"], found["decisions"]) == (True, 3)
    (lane,) = found["lanes"]
    assert (lane["name"], lane["kind"], lane["within"], lane["status"]) == ("reserve", "step", [], "sent")
    (bar,) = lane["bars"]
    (sent,) = [each["id"] for row in (await api.get(f"{ITEM}/history")).json()["decisions"] for each in row["sent"]]
    assert (bar["kind"], bar["end"], bar["command"], bar["cut"]) == ("attempt", None, sent, False)


async def test_the_newest_decisions_are_read_and_it_says_that_there_are_older_ones(api: httpx.AsyncClient) -> None:
    found = (await api.get(f"{ITEM}/timeline", params={"limit": 2})).json()
    assert (found["whole"], found["decisions"], found["lanes"]) == (False, 2, [])


@pytest.mark.parametrize(
    ("path", "status"),
    [(f"{ITEM}/timeline?limit=0", 422), (f"{ITEM}/timeline?limt=5", 422), (f"{ITEM}x/timeline", 404)],
)
async def test_a_wrong_question_is_answered_as_any(api: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await api.get(path)).status_code == status


async def test_the_typed_client_reads_it(up: Stack) -> None:
    transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
    async with RestClient("http://localhost", transport=transport) as client:
        found = await client.timeline("order-checkout/A-1", limit=500)
    assert [lane.name for lane in found.lanes] == ["reserve"]
