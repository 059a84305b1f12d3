"""Process managers: events in any order, steps, timers and undo, in a real engine on the SQLite log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import Published, mailbox_id
from sagaline.orchestrator.messages.inputs import ActName, Rejected, Start
from sagaline.sagas import DefinitionError, Event, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager
from tests.engine_world import Answer, Ask, HandClock, World, do_first, do_second, open_log, undo_first, world


class Placed(BaseModel):
    order: str


class Paid(BaseModel):
    order: str
    cents: int


class Fulfilment(BaseModel):
    order: str
    cents: int = 0
    picked: Answer | None = None
    shipped: Answer | None = None


placed, paid, done = Event("placed", Placed), Event("paid", Paid), Event("done", Placed)


def manager(*, tolerant: bool = False) -> ProcessManager[Fulfilment]:
    """Order fulfilment: pick when paid, ship when picked, give up when not paid in time."""

    @step(do_first, into="picked", name="pick")
    def pick(s: Fulfilment) -> Ask:
        return Ask(text=s.order)

    @pick.undo(undo_first)
    def unpick(s: Fulfilment) -> Ask:
        return Ask(text=s.order)

    @step(do_second, into="shipped", name="ship")
    def ship(s: Fulfilment) -> Ask:
        return Ask(text=s.order)

    pm = ProcessManager("fulfilment", Fulfilment, steps=[pick, ship])

    @pm.starts_on(placed, key=lambda e: e.order)
    def on_placed(e: Placed) -> Next[Fulfilment]:
        return Next("unpaid", Fulfilment(order=e.order), timers={"payment": timedelta(days=1)})

    @pm.on(paid, key=lambda e: e.order, when="unpaid")
    def on_paid(s: Fulfilment, e: Paid) -> Next[Fulfilment]:
        if e.cents < 0:
            raise ValueError("a negative payment")
        return Next("picking", s.model_copy(update={"cents": e.cents}), do=[pick], clear=["payment"])

    @pm.on_done(pick, when="picking")
    def on_picked(s: Fulfilment) -> Next[Fulfilment]:
        return Next("shipping", do=[ship])

    @pm.on_done(ship, when="shipping")
    def on_shipped(s: Fulfilment) -> Next[Fulfilment]:
        said = emit(done, lambda s: Placed(order=s.order), key=lambda s: s.order)
        return Next.complete(emit=[said])

    if tolerant:

        @pm.on_failed(ship, when="shipping")
        def on_not_shipped(s: Fulfilment) -> Next[Fulfilment]:
            return Next("shipping", do=[ship])

    @pm.on_timer("payment", when="unpaid")
    def on_unpaid(s: Fulfilment) -> Next[Fulfilment]:
        return Next.fail("not paid in time")

    return pm


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


async def publish(w: World, event: Event[BaseModel], body: BaseModel, key: str, id: str | None = None) -> None:
    message = Published(
        id=id or w.clock.new_id(),
        instance=mailbox_id(event.name, key),
        event=event.name,
        key=key,
        body=body.model_dump(mode="json"),
        keep_ms=3_600_000,
    )
    await w.log.append([encode_entity_message(w.topics.inputs, message, source="/t", now_ms=0, traceparent=None)])


async def phase(w: World, instance: str, wanted: str) -> None:
    def reached(record: object) -> bool:
        return any(c.what == "phase" and c.after == wanted for c in record.changes)  # type: ignore[attr-defined]

    await w.decided(instance, reached)


async def test_events_and_steps_drive_a_process_to_its_end(log: SqliteLog) -> None:
    async with world(log, [manager()]) as w:
        await publish(w, placed, Placed(order="A"), "A")
        await publish(w, paid, Paid(order="A", cents=5), "A")
        await w.reply(await w.command("fulfilment/A", "pick"), Answer(text="p"))
        await w.reply(await w.command("fulfilment/A", "ship"), Answer(text="s"))
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPLETED)
        document = await w.document("fulfilment/A")
        assert document is not None
        assert document.state == {"order": "A", "cents": 5, "picked": {"text": "p"}, "shipped": {"text": "s"}}
        await w.wait(w.topics.events, lambda record: dict(record.headers)["ce_type"] == b"done")


async def test_an_event_that_comes_before_the_start_is_kept_for_it(log: SqliteLog) -> None:
    """Out of order, and each twice: the outcome is the same."""
    async with world(log, [manager()]) as w:
        for _ in range(2):
            await publish(w, paid, Paid(order="A", cents=5), "A", id="paid-1")
        await w.decided("fulfilment/A", lambda record: record.status is Status.RUNNING)
        for _ in range(2):
            await publish(w, placed, Placed(order="A"), "A", id="placed-1")
        await w.reply(await w.command("fulfilment/A", "pick"), Answer(text="p"))
        await w.reply(await w.command("fulfilment/A", "ship"), Answer(text="s"))
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPLETED)
        assert len(await w.everything(w.topics.commands("work"))) == 2


async def test_a_step_that_fails_takes_back_what_was_done(log: SqliteLog) -> None:
    async with world(log, [manager()]) as w:
        await publish(w, placed, Placed(order="A"), "A")
        await publish(w, paid, Paid(order="A", cents=5), "A")
        await w.reply(await w.command("fulfilment/A", "pick"), Answer(text="p"))
        ship = await w.command("fulfilment/A", "ship")
        await w.reply(ship, Rejected(id="n", instance="fulfilment/A", command_id=ship.id, reason="no", code="no"))
        await w.reply(await w.command("fulfilment/A", "pick", undo=True), Answer(text="u"))
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPENSATED)


async def test_a_handler_may_do_a_failed_step_again_under_an_effect_key_of_its_own(log: SqliteLog) -> None:
    async with world(log, [manager(tolerant=True)]) as w:
        await publish(w, placed, Placed(order="A"), "A")
        await publish(w, paid, Paid(order="A", cents=5), "A")
        await w.reply(await w.command("fulfilment/A", "pick"), Answer(text="p"))
        ship = await w.command("fulfilment/A", "ship")
        await w.reply(ship, Rejected(id="n", instance="fulfilment/A", command_id=ship.id, reason="no", code="no"))
        again = await w.command("fulfilment/A", "ship@2")
        assert again.effect_key == ship.effect_key.replace("ship", "ship@2")
        await w.reply(again, Answer(text="s"))
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPLETED)


async def test_a_timer_of_the_author_ends_a_process_that_waits_too_long(log: SqliteLog) -> None:
    clock = HandClock()
    async with world(log, [manager()], clock=clock) as w:
        await publish(w, placed, Placed(order="A"), "A")
        await phase(w, "fulfilment/A", "unpaid")
        clock.at_ms += 86_400_001
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPENSATED)


async def test_what_comes_too_early_and_is_never_started_is_forgotten_in_time(log: SqliteLog) -> None:
    clock = HandClock()
    async with world(log, [manager()], clock=clock) as w:
        await publish(w, paid, Paid(order="A", cents=5), "A")
        await w.decided("fulfilment/A", lambda record: record.status is Status.RUNNING)
        clock.at_ms += 86_400_001
        gone = await w.decided("fulfilment/A", lambda record: record.status is None)
        assert "no start came in time" in gone.reason


async def test_a_handler_that_raises_asks_for_an_operator_and_loses_no_event(log: SqliteLog) -> None:
    async with world(log, [manager()]) as w:
        await publish(w, placed, Placed(order="A"), "A")
        await publish(w, paid, Paid(order="A", cents=-5), "A")
        await w.decided("fulfilment/A", lambda record: record.status is Status.ATTENTION)
        document = await w.document("fulfilment/A")
        assert document is not None
        assert document.attention is not None
        assert "a negative payment" in document.attention.message
        assert document.managed is not None
        assert [event.event for event in document.managed.early] == ["paid"]
        await w.act("fulfilment/A", ActName.CANCEL)
        await w.decided("fulfilment/A", lambda record: record.status is Status.COMPENSATED)


async def test_a_start_by_request_is_refused_with_the_way_to_do_it(log: SqliteLog) -> None:
    async with world(log, [manager()]) as w:
        await w.send(Start(id="s", definition="fulfilment", key="A", input={"order": "A"}))
        refused = await w.decided("fulfilment/A", lambda record: True)
        assert refused.reason == "a process manager is started by its events; publish placed"


def test_two_handlers_of_one_event_for_one_phase_are_a_mistake() -> None:
    pm = manager()
    with pytest.raises(DefinitionError, match="two handlers for the same phase; give each its own when"):

        @pm.on(paid, key=lambda e: e.order, when=["unpaid", "other"])
        def again(s: Fulfilment, e: Paid) -> Next[Fulfilment]:
            return Next("x")


def test_a_handler_for_a_step_of_another_is_a_mistake() -> None:
    stray = step(do_first, name="stray")(lambda s: Ask(text=""))
    with pytest.raises(DefinitionError, match=r"Step\('stray'\) is not one of its steps; add it to steps="):
        manager().on_done(stray)
