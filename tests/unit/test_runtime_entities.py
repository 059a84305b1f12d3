"""Entities at work in a real engine on the SQLite log: children, events, locks and tables, through the log and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import Published, Rule, SetRules, mailbox_id, table_id
from sagaline.orchestrator.messages.inputs import ActName, Message, Rejected
from sagaline.sagas import Event, Saga, pivot, step
from sagaline.sagas.nodes import each, emit, expect, parallel, route, run, wait
from tests.engine_world import Answer, Ask, Note, World, do_first, do_second, open_log, two_steps, undo_first, world

arrived = Event("arrived", Answer)
DAY = timedelta(days=1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


async def tell(w: World, message: Message) -> None:
    await w.log.append([encode_entity_message(w.topics.inputs, message, source="/test", now_ms=0, traceparent=None)])


async def publish(w: World, key: str, text: str = "here") -> None:
    box = mailbox_id("arrived", key)
    body = {"text": text}
    await tell(w, Published(id=w.clock.new_id(), instance=box, event="arrived", key=key, body=body, keep_ms=60_000))


async def test_an_event_reaches_who_waits_and_one_who_comes_later(log: SqliteLog) -> None:
    """The mailbox lives on its own partition; both find it by the key alone."""
    flow = [wait(expect(arrived, key=lambda s: s.text, into="first"), timeout=DAY)]
    async with world(log, [Saga("waiting", Note, flow=flow)]) as w:
        early = await w.start("1", "parcel", definition="waiting")
        await w.decided(early, lambda record: record.status is Status.RUNNING)
        await publish(w, "parcel")
        late = await w.start("2", "parcel", definition="waiting")
        for instance in (early, late):
            await w.decided(instance, lambda record: record.status is Status.COMPLETED)
            document = await w.document(instance)
            assert document is not None
            assert document.state["first"] == {"text": "here"}


async def test_what_is_emitted_stands_in_the_topic_of_events_and_wakes_a_waiting_saga(log: SqliteLog) -> None:
    says = Saga("says", Note, flow=[emit(arrived, lambda s: Answer(text=s.text), key=lambda s: "k")])
    hears = Saga("hears", Note, flow=[wait(expect(arrived, key=lambda s: "k", into="first"), timeout=DAY)])
    async with world(log, [says, hears]) as w:
        hearing = await w.start("1", definition="hears")
        await w.start("1", "news", definition="says")
        await w.decided(hearing, lambda record: record.status is Status.COMPLETED)
        (event,) = await w.everything(w.topics.events)
        assert (event.key, event.value) == (b"k", b'{"text":"news"}')
        assert dict(event.headers)["ce_type"] == b"arrived"


async def life_of(w: World, instance: str) -> str:
    """The incarnation of an instance that begins."""
    await w.decided(instance, lambda record: record.status is not None)
    document = await w.document(instance)
    assert document is not None
    return document.incarnation


async def test_a_child_is_done_and_undone_as_one_unit(log: SqliteLog) -> None:
    """The parent is refused after its child has completed: the child takes back what it did."""
    child = two_steps()

    @step(do_first, into="second", name="last")
    def last(s: Note) -> Ask:
        return Ask(text=s.text)

    parent = Saga("parent", Note, flow=[run(child, lambda s: Note(text=s.text)), last])
    async with world(log, [parent]) as w:
        instance = await w.start("1", definition="parent")
        kid = f"pair/{instance}/pair~{await life_of(w, instance)}"
        for name in ("first", "second"):
            await w.reply(await w.command(kid, name), Answer(text=name))
        await w.reply(await w.command(kid, "first"), Answer(text="twice"))
        refused = await w.command(instance, "last")
        await w.reply(refused, Rejected(id="no", instance=instance, command_id=refused.id, reason="no", code="no"))
        await w.reply(await w.command(kid, "first", undo=True), Answer(text="undone"))
        await w.decided(kid, lambda record: record.status is Status.COMPENSATED)
        await w.decided(instance, lambda record: record.status is Status.COMPENSATED)


async def test_parts_run_beside_each_other_and_are_gathered(log: SqliteLog) -> None:
    part = Saga("part", Note, flow=[step(do_first, into="first", name="work")(lambda s: Ask(text=s.text))])

    def gather(s: Note, done: Note) -> Note:
        return s.model_copy(update={"text": s.text + done.text})

    parts = each(part, of=lambda s: [Note(text=str(n)) for n in range(3)], gather=gather, concurrency=2)
    async with world(log, [Saga("whole", Note, flow=[parts])]) as w:
        instance = await w.start("1", ":", definition="whole")
        life = await life_of(w, instance)
        for number in range(3):
            await w.reply(await w.command(f"part/{instance}/part~{life}/{number}", "work"), Answer(text="ok"))
        await w.decided(instance, lambda record: record.status is Status.COMPLETED)
        document = await w.document(instance)
        assert document is not None
        assert sorted(str(document.state["text"])) == [*"012", ":"]


async def test_a_lock_is_held_until_its_holder_has_ended(log: SqliteLog) -> None:
    locked = Saga("locked", Note, flow=[step(do_first, name="work", locks="{text}")(lambda s: Ask(text=s.text))])
    async with world(log, [locked]) as w:
        first = await w.start("1", "same", definition="locked")
        holding = await w.command(first, "work")
        second = await w.start("2", "same", definition="locked")
        await w.decided(second, lambda record: record.status is Status.RUNNING)
        await w.reply(holding, Answer(text="ok"))
        await w.reply(await w.command(second, "work"), Answer(text="ok"))
        ended = await w.decided(second, lambda record: record.status is Status.COMPLETED)
        freed = await w.decided(first, lambda record: record.status is Status.COMPLETED)
        assert freed.at_ms <= ended.at_ms


async def test_two_instances_in_a_deadlock_do_not_wait_for_ever(log: SqliteLog) -> None:
    """One gives way, is compensated, and the other completes."""

    def locking(name: str, first: str, second: str) -> Saga[Note]:
        one = step(do_first, name="one", locks=first)(lambda s: Ask(text=s.text))
        two = step(do_second, name="two", locks=second)(lambda s: Ask(text=s.text))
        one.undo(undo_first)(lambda s: Ask(text=s.text))
        return Saga(name, Note, flow=[one, two])

    async with world(log, [locking("ab", "a", "b"), locking("ba", "b", "a")]) as w:
        one, other = await w.start("1", definition="ab"), await w.start("1", definition="ba")
        holding = [await w.command(one, "one"), await w.command(other, "one")]
        for command in holding:
            await w.reply(command, Answer(text="ok"))
        await w.reply(await w.command(other, "one", undo=True), Answer(text="ok"))
        await w.reply(await w.command(one, "two"), Answer(text="ok"))
        await w.decided(one, lambda record: record.status is Status.COMPLETED)
        await w.decided(other, lambda record: record.status is Status.COMPENSATED)
        document = await w.document(other)
        assert document is not None
        assert document.cause is not None
        assert document.cause.kind == "deadlock"
        assert "ab/1" in document.cause.message


async def test_a_deadlock_past_the_pivot_is_shown_as_a_case_that_names_the_cycle(log: SqliteLog) -> None:
    """Nobody may be unwound there; once the other has ended, a retry goes on."""

    def locking(name: str, first: str, second: str) -> Saga[Note]:
        one = step(do_first, name="one", locks=first)(lambda s: Ask(text=s.text))
        two = step(do_second, name="two", locks=second)(lambda s: Ask(text=s.text))
        return Saga(name, Note, flow=[pivot, one, two])

    async with world(log, [locking("ab", "a", "b"), locking("ba", "b", "a")]) as w:
        one, other = await w.start("1", definition="ab"), await w.start("1", definition="ba")
        for command in [await w.command(one, "one"), await w.command(other, "one")]:
            await w.reply(command, Answer(text="ok"))
        await w.decided(other, lambda record: record.status is Status.ATTENTION)
        document = await w.document(other)
        assert document is not None
        assert document.attention is not None
        assert (document.attention.kind, document.attention.step) == ("deadlock", "two")
        for name in ("deadlock: ", "ab/1", "ba/1", "@lock/a", "@lock/b"):
            assert name in document.attention.message
        await w.act(other, ActName.ABANDON)
        await w.reply(await w.command(one, "two"), Answer(text="ok"))
        await w.decided(one, lambda record: record.status is Status.COMPLETED)


async def test_a_changed_table_routes_the_next_instance_and_not_the_one_before(log: SqliteLog) -> None:

    fast = step(do_first, name="fast")(lambda s: Ask(text=s.text))
    slow = step(do_second, name="slow")(lambda s: Ask(text=s.text))
    flow = [route("ways", by=lambda s: {"text": s.text}, to={"fast": fast, "slow": slow}, otherwise="slow")]
    async with world(log, [Saga("routed", Note, flow=flow)]) as w:
        before = await w.start("1", "vip", definition="routed")
        await w.command(before, "slow")
        rules = (Rule(when={"text": {"in": ["vip"]}}, to="fast"),)
        await tell(w, SetRules(id="rules", instance=table_id("ways"), rules=rules, by="ann"))
        after = await w.start("2", "vip", definition="routed")
        await w.reply(await w.command(after, "fast"), Answer(text="ok"))
        await w.decided(after, lambda record: record.status is Status.COMPLETED)
        document = await w.document(after)
        assert document is not None
        assert (document.steps["route-ways"].memo or {})["version"] == 1


async def test_branches_run_beside_each_other(log: SqliteLog) -> None:
    one = step(do_first, into="first", name="one")(lambda s: Ask(text=s.text))
    two = step(do_second, into="second", name="two")(lambda s: Ask(text=s.text))
    async with world(log, [Saga("both", Note, flow=[parallel(one, two)])]) as w:
        instance = await w.start("1", definition="both")
        commands = [await w.command(instance, "one"), await w.command(instance, "two")]
        for command in reversed(commands):
            await w.reply(command, Answer(text="ok"))
        await w.decided(instance, lambda record: record.status is Status.COMPLETED)
