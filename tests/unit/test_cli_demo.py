"""The demo's parts: its check catches what is planted, its plan holds every trouble, its lock lets one in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console

from sagaline.api import create_app
from sagaline.client import Producer
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.demo.lock import only_demo
from sagaline.orchestrator.cli.demo.patterns import (
    Pattern,
    Scheduled,
    Stage,
    delete_left_schedules,
    every_pattern,
    play_all,
)
from sagaline.orchestrator.cli.demo.place import prepared
from sagaline.orchestrator.cli.demo.report import Books, Outcome, verdict
from sagaline.orchestrator.cli.demo.scenario import expected_end, plan_orders, story_of
from sagaline.orchestrator.cli.demo.shop import Shop
from sagaline.orchestrator.cli.demo.traces import SpanMemory, draw
from sagaline.orchestrator.cli.errors import Failure, Mistake
from sagaline.orchestrator.cli.options import ListenOptions, LogOptions
from sagaline.orchestrator.errors import ConfigurationError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers import Worker
from sagaline.workers.examples.ledger import OrderBooks

from .stack import order as order_input
from .stack import stack


def order(key: str, status: str, cause: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": f"order-checkout/{key}", "key": key, "status": status, "cause": cause, "steps": []}


def outcome(*orders: dict[str, Any]) -> Outcome:
    books = Books(orders={each["key"]: OrderBooks(each["key"]) for each in orders}, open_charges=[], done_twice=[])
    return Outcome(orders={each["id"]: each for each in orders}, books=books, crashes=0)


GOOD = outcome(order("r-01-smooth", "completed"), order("r-02-declined", "compensated"))


def test_a_run_in_which_all_went_as_planned_has_nothing_wrong() -> None:
    assert verdict(GOOD) == []


def test_an_open_charge_is_caught() -> None:
    [wrong] = verdict(replace(GOOD, books=replace(GOOD.books, open_charges=["r-01-smooth"])))
    assert wrong == "charged and neither shipped nor refunded: r-01-smooth"


def test_a_second_charge_is_caught() -> None:
    twice = [("charges", "order-checkout/r-01-smooth/charge", 2)]
    [wrong] = verdict(replace(GOOD, books=replace(GOOD.books, done_twice=twice)))
    assert wrong == "done more than once: charges order-checkout/r-01-smooth/charge (2 times)"


@pytest.mark.parametrize(
    ("key", "status", "part"),
    [
        ("r-01-smooth", "compensated", "ended differently than planned"),
        ("r-02-declined", "completed", "ended differently than planned"),
        ("r-03-silent", "running", "ended differently than planned"),
        ("r-04-crash", "attention", "need attention"),
    ],
)
def test_an_order_that_ended_otherwise_is_caught(key: str, status: str, part: str) -> None:
    [wrong] = verdict(outcome(order(key, status)))
    assert part in wrong
    assert f"order-checkout/{key}" in wrong


def test_what_a_visitor_started_or_cancelled_may_end_as_it_has() -> None:
    cancelled = order("r-01-smooth", "compensated", {"kind": "cancelled", "message": "by ann"})
    assert verdict(outcome(order("my-own", "completed"), cancelled)) == []


def test_an_order_whose_deadline_passed_while_no_demo_ran_must_be_compensated() -> None:
    late = {"kind": "timeout", "message": "no outcome within 3 s"}
    assert verdict(outcome(order("r-01-smooth", "compensated", late))) == []
    [wrong] = verdict(outcome(order("r-01-smooth", "compensating", late)))
    assert "ended differently than planned" in wrong


def test_five_orders_hold_every_trouble_and_ids_tell_which() -> None:
    plans = plan_orders(20, "r")
    assert len({plan.order.id for plan in plans}) == 20
    assert {plan.fate.name for plan in plans[:5]} == {"smooth", "declined", "silent", "crash", "flaky"}
    for plan in plans:
        found = order(plan.order.id, "running")
        assert (story_of(found), expected_end(found)) == (plan.fate.story, plan.fate.ends)
    assert expected_end(order("r-03-silent", "running")) is Status.COMPENSATED


def test_a_second_demo_in_the_same_place_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    lock = tmp_path / "demo.lock"
    with only_demo(lock, "sqlite:///x.db"):
        second = pytest.raises(ConfigurationError, match=f"process {os.getpid()}\\) runs on sqlite:///x.db; stop it")
        with second, only_demo(lock, "sqlite:///x.db"):
            pass
    with only_demo(lock, "sqlite:///x.db"):
        assert lock.read_text() == str(os.getpid())


def test_without_a_log_everything_is_in_a_folder_of_its_own_that_goes_away() -> None:
    with prepared(LogOptions(), ListenOptions(), None, False, "cafe") as place:
        assert place.settings.namespace == "demo"
        assert place.settings.sqlite_path == str(place.folder / "demo.db")
        assert place.folder.is_dir()
    assert not place.folder.exists()


def test_a_named_file_keeps_its_books_beside_it(tmp_path: Path) -> None:
    with prepared(LogOptions(log=f"sqlite:///{tmp_path}/shop.db"), ListenOptions(), None, False, "cafe") as place:
        assert place.ledger == tmp_path / "shop-ledger.db"
    assert tmp_path.exists()


def test_on_kafka_a_run_without_a_namespace_gets_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kafka = LogOptions(log="kafka://127.0.0.1:9092")
    with prepared(kafka, ListenOptions(), None, False, "cafe") as fresh:
        assert (fresh.settings.namespace, fresh.settings.development) == ("demo-cafe", True)
    assert not fresh.folder.exists()
    with prepared(replace(kafka, namespace="demo-7"), ListenOptions(), None, False, "cafe") as named:
        assert (named.settings.namespace, named.folder) == ("demo-7", Path("sagaline-demo-7"))
    assert named.folder.exists()


def test_the_demo_keeps_out_of_other_namespaces() -> None:
    """Its engine knows one saga: elsewhere it would take partitions of instances that it cannot go on with."""
    wrong = LogOptions(log="kafka://127.0.0.1:9092", namespace="shop")
    with pytest.raises(Mistake, match=r"'shop'.*--namespace demo"), prepared(wrong, ListenOptions(), None, False, "x"):
        pass


def test_a_trace_is_drawn_below_its_request_and_orphans_below_the_root() -> None:
    memory = SpanMemory()
    provider = TracerProvider()
    provider.add_span_processor(memory)
    tracing = Tracing(provider)
    request = tracing.start("request", None)
    decision = tracing.start("decide", request.traceparent)
    handler = tracing.start("handle", decision.traceparent, attributes={"sagaline.attempt": 2})
    lost = tracing.start("never ends", request.traceparent)
    orphan = tracing.start("orphan", lost.traceparent)
    tracing.start("another trace", None).end()
    for span in (request, decision, handler, orphan):
        span.end()
    trace_id = (request.traceparent or "").split("-")[1]
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed below
    console.print(draw(trace_id, memory.of_trace(trace_id)))
    console.file.close()
    lines = [line.split("  +")[0] for line in console.export_text().splitlines()]
    assert lines == [f"trace {trace_id}", "├── request", "│   └── decide", "│       └── handle", "└── orphan"]
    provider.shutdown()


async def test_a_part_that_ends_by_itself_ends_the_process_with_its_error() -> None:
    from sagaline.orchestrator.cli.processes import any_ended

    async def breaks() -> None:
        raise ConfigurationError("mend me")

    async def ends() -> None:
        """At once."""

    for part, error in ((breaks, "mend me"), (ends, "engine ended unexpectedly")):
        with pytest.raises((ConfigurationError, Failure), match=error):
            await any_ended([asyncio.create_task(part(), name="engine")])


async def test_a_demo_that_cannot_start_its_orders_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last answer, for example that the disk is full."""
    monkeypatch.setattr("sagaline.orchestrator.cli.demo.shop._PAUSE_SECONDS", 0.0)
    problem = {"title": "unavailable", "detail": "the disk is full: free space on the disk that holds it"}
    transport = httpx.MockTransport(lambda request: httpx.Response(503, json=problem))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        with pytest.raises(ExceptionGroup) as caught:
            await Shop(client).start_all(plan_orders(1, "r"))
    assert "was not accepted in 20 tries; the last answer: the disk is full" in str(caught.value.exceptions[0])


def stage_of(http: httpx.AsyncClient, console: Console) -> Stage:
    return Stage(
        producer=Producer(),
        shop=Shop(http),
        spans=SpanMemory(),
        console=console,
        run="r",
        clock=SystemClock(),
        timeout_seconds=0.01,
    )


@pytest.mark.parametrize(
    ("shown", "good"),
    [({}, True), ({"paused": False}, False), ({"denied": 1}, False), ({"missed": 1}, False), ({"started": 1}, False)],
)
async def test_a_schedule_that_did_otherwise_is_caught(shown: dict[str, Any], good: bool) -> None:
    """Two due times reach the worker; the API tells something else."""
    played, due = Scheduled(), ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]
    recent = [{"instance": f"demo-tick/demo-r-{each}", "outcome": "started"} for each in reversed(due)]
    told = {"paused": True, "next": [], "started": 2, "denied": 0, "missed": 0, "recent": recent} | shown
    played.came += [f"demo-tick/demo-r-{each}" for each in due] + ["demo-tick/demo-killed-2025-01-01T00:00:00Z"]
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=told))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as http:
        wrong = await played.play(stage_of(http, Console(file=StringIO())))
    assert (wrong == []) is good


async def test_a_demo_deletes_the_schedules_that_killed_ones_left_active(tmp_path: Path) -> None:
    registry = Registry([each for pattern in every_pattern(tmp_path) for each in pattern.definitions] + [checkout])
    plan = {"definition": "demo-tick", "every_seconds": 3600, "by": "demo"}
    async with stack(tmp_path, registry=registry) as up:
        transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            own = {**plan, "definition": checkout.name, "input": order_input()}
            for name, body in (("demo-killed", plan), ("own", own)):
                assert (await http.put(f"/v1/schedules/{name}", json=body)).status_code == 200
            await delete_left_schedules(Shop(http))
            page = await up.client.schedules.list()
    assert [each.id for each in page.entities] == ["@schedule/own"]


async def test_what_a_pattern_did_not_keep_is_told_and_the_others_are_played() -> None:
    class Played(Pattern):
        workers: Sequence[Worker] = ()

        def __init__(self, title: str, *wrong: str) -> None:
            self.title, self._wrong = title, list(wrong)

        async def play(self, stage: Stage) -> list[str]:
            stage.say(f"{self.title} is played")
            return self._wrong

    console = Console(record=True, file=StringIO())
    async with httpx.AsyncClient() as http:
        stage = stage_of(http, console)
        wrong = await play_all([Played("first", "it came twice"), Played("second"), Played("third", "lost")], stage)
        with pytest.raises(Failure, match=r"after 0\.01 s it never came; give more time"):
            await stage.until("it never came", lambda: False)
    assert wrong == ["it came twice", "lost"]
    assert [line for line in console.export_text().splitlines() if "played" in line] == [
        "  first is played",
        "  second is played",
        "  third is played",
    ]
