"""The engine on the real embedded log: its promises about records that are not as they should be, and restarts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.adapters.sqlite_log.schema import first_id, past_last_id
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.document import FORMAT, Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName, Completed, Failed, Rejected, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Batch, Position
from sagaline.orchestrator.ports.topics import POSITION_KEY
from sagaline.orchestrator.runtime import deciding, guard, processor

from ..engine_world import PARTITIONS, Answer, Ask, HandClock, Note, open_log, two_steps, world


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


async def test_a_flow_runs_to_its_end_and_each_command_is_published_once(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        await w.reply(await w.command(instance, "first"), Answer(text="1"))
        await w.reply(await w.command(instance, "second"), Answer(text="2"))
        last = await w.decided(instance, lambda r: r.status is Status.COMPLETED)
        assert last.revision == 3
        document = await w.document(instance)
        assert document is not None
        assert document.state == {"text": "x", "first": {"text": "1"}, "second": {"text": "2"}}
        assert [r.value for r in await w.everything(w.topics.commands("work"))] == [b'{"text":"x"}', b'{"text":"x"}']


async def test_the_position_stands_in_the_state_topic(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        await w.command(instance, "first")
        assert POSITION_KEY in [record.key for record in await w.everything(w.topics.state)]


async def test_partitions_beyond_those_of_the_namespace_are_left_alone(log: SqliteLog) -> None:
    """The topics have been given more: no key belongs there."""
    async with world(log, [two_steps()], grown_by=1) as w:
        await asyncio.wait_for(w.engine.processes(PARTITIONS), 5)
        await w.command(await w.start("A-1"), "first")
        assert w.engine.processing == frozenset(range(PARTITIONS))


async def test_a_state_topic_that_was_emptied_is_not_decided_upon(log: SqliteLog, tmp_path: Path) -> None:
    """Else every record that inputs still holds would be decided once more."""
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        await w.command(instance, "first")
        partition = partition_of(instance.encode(), PARTITIONS)
    with closing(sqlite3.connect(tmp_path / "log.db")) as other, other:
        ((first, count),) = other.execute("SELECT first_part, partitions FROM topics WHERE name = 'test.state'")
        other.execute(
            "DELETE FROM records WHERE id >= ? AND id < ?", (first_id(first), past_last_id(first + count - 1))
        )
    async with world(log, [two_steps()]) as w:
        await asyncio.wait_for(w.engine.processes(PARTITIONS - 1), 5)
        await w.start("A-1")
        await asyncio.sleep(0.1)
        assert partition not in w.engine.processing
        assert len(await w.everything(w.topics.commands("work"))) == 1


POISON: list[tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...], str]] = [
    ("no type", b"pair/k", b"{}", (), "ce_type is missing"),
    ("unknown type", b"pair/k", b"{}", (("ce_type", b"odd"), ("ce_id", b"1")), "not known"),
    ("not JSON", b"pair/k", b"\xff{", (("ce_type", b"sagaline.start"), ("ce_id", b"1")), "not JSON"),
    ("no value", b"pair/k", None, (("ce_type", b"sagaline.start"), ("ce_id", b"1")), "no value"),
    ("no key", None, b"{}", (("ce_type", b"sagaline.start"), ("ce_id", b"1")), "no key"),
    ("wrong shape", b"pair/k", b'{"key":1}', (("ce_type", b"sagaline.start"), ("ce_id", b"1")), "sagaline.start"),
]


@pytest.mark.parametrize(("name", "key", "value", "headers", "why"), POISON, ids=[p[0] for p in POISON])
async def test_a_poison_record_becomes_a_dead_letter_and_the_partition_goes_on(
    log: SqliteLog, name: str, key: bytes | None, value: bytes | None, headers: Any, why: str
) -> None:
    async with world(log, [two_steps()]) as w:
        partition = partition_of(key or b"", PARTITIONS)
        await w.raw(key, value, headers, partition)
        behind = next(k for k in map(str, range(99)) if partition_of(f"pair/{k}".encode(), PARTITIONS) == partition)
        await w.command(await w.start(behind), "first")
        letters = await w.everything(w.topics.dead)
        assert [(letter.key, letter.value) for letter in letters] == [(key, value)]
        reasons = dict(letters[0].headers)
        assert why in reasons["dead-reason"].decode()
        assert reasons["dead-topic"] == w.topics.inputs.encode()
        assert {name: reasons[name] for name, _ in headers} == dict(headers)


async def test_a_record_on_the_wrong_partition_is_forwarded_and_counted(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
        owner = partition_of(instance.encode(), PARTITIONS)
        reply = (("ce_type", b"sagaline.reply.completed"), ("ce_id", b"r"), ("ce_commandid", command.id.encode()))
        await w.raw(instance.encode(), b'{"text":"1"}', reply, (owner + 1) % PARTITIONS)
        await w.command(instance, "second")
        assert w.metrics.counts["inputs.forwarded"] == 1


async def test_a_reply_for_nobody_is_counted_and_leaves_no_trace(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        stray = (("ce_type", b"sagaline.reply.completed"), ("ce_id", b"r"), ("ce_commandid", b"pair/none/first/1"))
        await w.raw(b"pair/none", b'{"text":"1"}', stray, partition_of(b"pair/none", PARTITIONS))
        for key in "abcd":
            await w.command(await w.start(key), "first")
        assert w.metrics.counts["decisions[pair,ignored]"] == 1
        assert b"pair/none" not in [record.key for record in await w.everything(w.topics.history)]
        assert await w.everything(w.topics.dead) == []


async def test_a_duplicate_reply_is_ignored(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
        await w.reply(command, Answer(text="1"))
        await w.reply(command, Answer(text="again"))
        ignored = await w.decided(instance, lambda r: r.outcome is Outcome.IGNORED)
        assert ignored.revision == 2
        document = await w.document(instance)
        assert document is not None
        assert document.state["first"] == {"text": "1"}


async def test_a_reply_of_the_wrong_type_is_a_failed_attempt(log: SqliteLog) -> None:
    clock = HandClock()
    async with world(log, [two_steps()], clock=clock) as w:
        instance = await w.start("A-1")
        await w.reply(await w.command(instance, "first"), {"unexpected": 1})
        await w.decided(instance, lambda r: any(c.after == StepStatus.BACKOFF for c in r.changes))
        clock.at_ms += 5_000
        await w.start("wake the owner", definition="nobody")
        await w.start("wake the other owner", definition="nobody")
        second = await w.command(instance, "first", 2)
        await w.reply(second, {"unexpected": 1})
        document_at_end = await w.decided(instance, lambda r: r.status is Status.COMPENSATING)
        assert "does not fit Answer" in (document_at_end.changes[0].after + str((await w.document(instance)).cause))  # type: ignore[union-attr]  # it exists


async def test_a_start_of_an_unknown_definition_waits_and_begins_when_its_code_is_deployed(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1", definition="late", request="r-1")
        waits = await w.decided(instance, lambda r: r.message is not None and r.message.id == "r-1")
        assert (waits.outcome, waits.status) == (Outcome.DEFERRED, Status.ATTENTION)
        assert waits.reason == "'late' is not deployed here; deploy it"
        assert await w.everything(w.topics.dead) == []
    async with world(log, [two_steps(name="late", version=2)]) as w:
        await w.reply(await w.command(instance, "first"), Answer(text="1"))
        await w.reply(await w.command(instance, "second"), Answer(text="2"))
        await w.decided(instance, lambda r: r.status is Status.COMPLETED)


async def test_the_same_start_twice_makes_one_instance_and_another_input_is_refused(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1", "x", request="r-1")
        await w.start("A-1", "x", request="r-2")
        await w.start("A-1", "other", request="r-3")
        third = await w.decided(instance, lambda r: r.message is not None and r.message.id == "r-3")
        assert third.outcome is Outcome.DENIED
        second = await w.decided(instance, lambda r: r.message is not None and r.message.id == "r-2")
        assert second.outcome is Outcome.UNCHANGED
        assert len(await w.everything(w.topics.commands("work"))) == 1


async def test_what_arrives_during_a_commit_is_decided_on_top_of_it(log: SqliteLog) -> None:
    """The same start again and again, not waiting for answers: one instance, one command, each request answered."""
    async with world(log, [two_steps()]) as w:
        for number in range(60):
            await w.start("A-1", request=f"r-{number}")
        await w.decided("pair/A-1", lambda r: r.message is not None and r.message.id == "r-59")
        records = [decode_history(record) for record in await w.everything(w.topics.history)]
        assert [record.revision for record in records] == [1] * 60
        assert [record.outcome for record in records].count(Outcome.APPLIED) == 1
        assert len(await w.everything(w.topics.commands("work"))) == 1


async def test_a_step_function_that_raises_waits_for_an_operator_and_goes_on_after_a_mended_deploy(
    log: SqliteLog,
) -> None:
    def broken(s: Note) -> Ask:
        raise ZeroDivisionError("planted")

    async with world(log, [two_steps(build=broken)]) as w:
        instance = await w.start("A-1")
        await w.reply(await w.command(instance, "first"), Answer(text="1"))
        await w.decided(instance, lambda r: r.status is Status.ATTENTION)
        document = await w.document(instance)
        assert document is not None
        assert document.attention is not None
        assert "ZeroDivisionError: planted" in document.attention.message
        assert "Traceback" in document.attention.detail
    async with world(log, [two_steps()]) as w:
        await w.act(instance, ActName.RETRY)
        await w.reply(await w.command(instance, "second"), Answer(text="2"))
        await w.decided(instance, lambda r: r.status is Status.COMPLETED)


async def test_a_document_over_the_limit_harms_its_own_instance_only(log: SqliteLog) -> None:
    async with world(log, [two_steps()], limits=Limits(document_bytes=3_000)) as w:
        instance = await w.start("A-1")
        other = await w.start("A-2")
        await w.reply(await w.command(instance, "first"), Answer(text="x" * 4_000))
        await w.decided(instance, lambda r: r.status is Status.ATTENTION)
        document = await w.document(instance)
        assert document is not None
        assert document.attention is not None
        assert "the limit is 3,000" in document.attention.message
        await w.reply(await w.command(other, "first"), Answer(text="1"))
        await w.command(other, "second")
    async with world(log, [two_steps()]) as w:
        await w.act(instance, ActName.RETRY)
        await w.reply(await w.command(instance, "first", 2), Answer(text="x" * 4_000))
        await w.command(instance, "second")


async def test_a_start_over_the_limit_is_refused(log: SqliteLog) -> None:
    async with world(log, [two_steps()], limits=Limits(document_bytes=3_000)) as w:
        instance = await w.start("A-1", "x" * 4_000)
        refused = await w.decided(instance, lambda r: r.outcome is Outcome.DENIED)
        assert "the limit is 3,000" in refused.reason
        assert await w.document(instance) is None


async def test_a_defect_of_the_engine_itself_harms_its_own_instance_only(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = guard.decide

    def defective(definition: Any, document: Any, arrival: Any, limits: Any) -> Any:
        if isinstance(arrival.message, Completed) and arrival.message.instance == "pair/A-1":
            raise RuntimeError("planted")
        return real(definition, document, arrival, limits)

    monkeypatch.setattr(guard, "decide", defective)
    async with world(log, [two_steps()]) as w:
        instance, other = await w.start("A-1"), await w.start("A-2")
        await w.reply(await w.command(instance, "first"), Answer(text="1"))
        await w.decided(instance, lambda r: r.status is Status.ATTENTION)
        await w.reply(await w.command(other, "first"), Answer(text="1"))
        await w.command(other, "second")


async def test_an_engine_goes_on_where_the_one_before_stopped(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
    async with world(log, [two_steps()]) as w:
        await w.reply(command, Answer(text="1"))
        await w.reply(await w.command(instance, "second"), Answer(text="2"))
        await w.decided(instance, lambda r: r.status is Status.COMPLETED)
        assert len(await w.everything(w.topics.commands("work"))) == 2


async def test_a_timer_survives_a_restart_and_fires_once(log: SqliteLog) -> None:
    clock = HandClock()
    async with world(log, [two_steps()], clock=clock) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
        await w.reply(command, Failed(id="f", instance=instance, command_id=command.id, error="planted"))
        await w.decided(instance, lambda r: any(c.after == StepStatus.BACKOFF for c in r.changes))
    clock.at_ms += 60_000
    async with world(log, [two_steps()], clock=clock) as w:
        await w.command(instance, "first", 2)
        fired = [r for r in await w.everything(w.topics.history) if b"TimerFired" in r.value or b'"timer"' in r.value]
        assert len(fired) == 1
        record = await w.decided(instance, lambda r: isinstance(r.message, TimerFired))
        assert record.at_ms >= clock.at_ms


async def test_a_reply_that_lay_in_the_log_is_heard_before_the_timers_that_passed_meanwhile(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_BATCH_MAX", 2)
    clock = HandClock()
    async with world(log, [two_steps()], clock=clock) as w:
        instances = [await w.start(f"A-{n}") for n in range(8)]
        commands = [await w.command(instance, "first") for instance in instances]
    for command in commands:
        await w.reply(command, Answer(text="1"))
    clock.at_ms += 3_600_000
    async with world(log, [two_steps()], clock=clock) as w:
        for instance in instances:
            await w.command(instance, "second")
        assert [
            r for r in await w.everything(w.topics.history) if b"TimerFired" in r.value or b'"timer":' in r.value
        ] == []


@pytest.mark.slow
async def test_many_timers_due_at_once_fire_in_bounded_batches(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_BATCH_MAX", 4)
    sizes: list[int] = []
    real = deciding.BatchWork.batch

    def counted(self: deciding.BatchWork) -> Batch:
        sizes.append(self.count)
        return real(self)

    monkeypatch.setattr(deciding.BatchWork, "batch", counted)
    clock = HandClock()
    async with world(log, [two_steps()], clock=clock) as w:
        instances = [await w.start(f"A-{n}") for n in range(40)]
        for instance in instances:
            await w.command(instance, "first")
        clock.at_ms += 3_600_000
        for instance in instances:
            await w.command(instance, "first", undo=True)
    assert sum(sizes) >= 80
    assert max(sizes) <= 4 + 3 + 4, "a batch that is not full yet may take one more poll and one more set of timers"


async def test_a_batch_is_full_when_it_would_write_so_much(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many timers are due: a commit has a deadline, and what passes it would be tried again for ever."""
    monkeypatch.setattr(processor, "_BATCH_BYTES_MAX", 4_000)
    monkeypatch.setattr(processor, "_TIMERS_MAX", 2)
    sizes: list[int] = []
    real = deciding.BatchWork.batch

    def counted(self: deciding.BatchWork) -> Batch:
        batch = real(self)
        written = [len(value or b"") for value in (*batch.state.values(), *(each.value for each in batch.appends))]
        sizes.append(sum(written))
        return batch

    clock = HandClock()
    async with world(log, [two_steps()], clock=clock) as w:
        instances = [await w.start(f"A-{n}") for n in range(20)]
        for instance in instances:
            await w.command(instance, "first")
    monkeypatch.setattr(deciding.BatchWork, "batch", counted)
    clock.at_ms += 3_600_000
    async with world(log, [two_steps()], clock=clock) as w:
        for instance in instances:
            await w.command(instance, "first", undo=True)
    assert len(sizes) >= 6
    assert max(sizes) <= 4_000 + 2 * 4_000, "one that is not full yet may take two more timers"
    sizes.clear()
    for number in range(20):
        await w.start(f"B-{number}")
    async with world(log, [two_steps()], clock=clock) as w:
        for number in range(20):
            await w.command(f"pair/B-{number}", "first")
    assert max(sizes) <= 4_000 + 4_000, "one that is not full yet may take one more record"


async def test_compensation_runs_over_the_log(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        first = await w.command(instance, "first")
        await w.reply(first, Answer(text="1"))
        second = await w.command(instance, "second")
        no = Rejected(id="n", instance=instance, command_id=second.id, reason="sold out", code="sold_out")
        await w.reply(second, no)
        undo = await w.command(instance, "first", undo=True)
        assert undo.effect_key == first.effect_key
        await w.reply(undo, Answer(text="undone"))
        await w.decided(instance, lambda r: r.status is Status.COMPENSATED)


async def test_an_instance_whose_version_is_not_deployed_waits_visibly_and_goes_on_by_itself(log: SqliteLog) -> None:
    async with world(log, [two_steps(version=1)]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
    async with world(log, [two_steps(version=2)]) as w:
        await w.reply(command, Answer(text="1"))
        waiting = await w.decided(instance, lambda r: r.status is Status.ATTENTION)
        assert waiting.outcome is Outcome.DEFERRED
        assert "version 1 is not deployed here" in waiting.reason
    async with world(log, [two_steps(version=1), two_steps(version=2)]) as w:
        await w.reply(await w.command(instance, "second"), Answer(text="2"))
        await w.decided(instance, lambda r: r.status is Status.COMPLETED)


async def test_instances_whose_code_is_deployed_go_on_in_bounded_batches(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have waited for it: one batch of all of them would never be committed in time."""
    async with world(log, []) as w:
        instances = [await w.start(f"A-{n}") for n in range(20)]
        for instance in instances:
            await w.decided(instance, lambda r: r.status is Status.ATTENTION)
    monkeypatch.setattr(processor, "_BATCH_MAX", 4)
    sizes: list[int] = []
    real = deciding.BatchWork.batch

    def counted(self: deciding.BatchWork) -> Batch:
        sizes.append(self.count)
        return real(self)

    monkeypatch.setattr(deciding.BatchWork, "batch", counted)
    async with world(log, [two_steps()]) as w:
        for instance in instances:
            await w.command(instance, "first")
    assert (sum(sizes), max(sizes)) == (20, 4)


async def test_a_document_of_a_newer_format_parks_its_instance_and_loses_nothing(log: SqliteLog) -> None:
    async with world(log, [two_steps()]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
    partition = partition_of(instance.encode(), PARTITIONS)
    membership = await log.join(w.topics.inputs, w.topics.state, "test.engine")
    while partition not in await membership.changed():
        pass
    owner = await membership.take(partition)
    stored = owner.get(instance.encode())
    assert stored is not None
    newer = stored.replace(b'{"format":%d,' % FORMAT, b'{"format":99,')
    await owner.commit(Batch({instance.encode(): newer}, [], Position(owner.position.offset, owner.position.now_ms)))
    await owner.release()
    await membership.leave()
    async with world(log, [two_steps()]) as w:
        await w.reply(command, Answer(text="1"))
        letters = await w.wait(w.topics.dead, lambda r: r.key == instance.encode())
        assert b"format 99" in dict(letters[0].headers)["dead-reason"]
        assert letters[0].value == b'{"text":"1"}'
        other = next(k for k in map(str, range(99)) if partition_of(f"pair/{k}".encode(), PARTITIONS) == partition)
        await w.command(await w.start(other), "first")


STRANGE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "a place of no round": (b"pair/A-2", {"steps": lambda steps: {"first@x": steps["first"]}}, "ValueError"),
    "what is kept is no list": (
        b"pair/A-2",
        {"deferred": lambda _: 5},
        "not a document: deferred",
    ),
    "a key that is no text": (b"\xff", {}, "UnicodeDecodeError"),
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_a_document_that_cannot_be_indexed_parks_its_instance_only(log: SqliteLog, strange: str) -> None:
    """Restoring a partition goes on, also when the document makes the code that looks at it raise."""
    async with world(log, [two_steps(version=1)]) as w:
        instance = await w.start("A-1")
        command = await w.command(instance, "first")
    async with world(log, [two_steps(version=2)]) as w:
        await w.reply(command, Answer(text="1"))
        await w.decided(instance, lambda r: r.status is Status.ATTENTION)
    partition = partition_of(instance.encode(), PARTITIONS)
    membership = await log.join(w.topics.inputs, w.topics.state, "test.engine")
    while partition not in await membership.changed():
        pass
    owner = await membership.take(partition)
    body = json.loads(owner.get(instance.encode()) or b"")
    key, changes, reason = STRANGE[strange]
    changed = json.dumps(body | {name: change(body[name]) for name, change in changes.items()}, separators=(",", ":"))
    await owner.commit(Batch({key: changed.encode()}, [], owner.position))
    await owner.release()
    await membership.leave()
    with capture_logs() as logs:
        async with world(log, [two_steps(version=1), two_steps(version=2)]) as w:
            await w.reply(await w.command(instance, "second"), Answer(text="2"))
            await w.decided(instance, lambda r: r.status is Status.COMPLETED)
    parked = [each for each in logs if each["event"] == "instance parked"]
    assert [each["instance"] for each in parked] == [key.decode(errors="replace")]
    assert parked[0]["reason"].startswith(reason)


@pytest.mark.slow
async def test_two_engines_share_the_partitions_and_the_second_goes_on_alone(tmp_path: Path) -> None:
    async with open_log(tmp_path / "log.db") as log, open_log(tmp_path / "log.db") as log_2:
        async with world(log, [two_steps()]) as one:
            async with world(log_2, [two_steps()]) as two:
                instances = [await one.start(f"A-{n}") for n in range(20)]
                commands = [await one.command(instance, "first") for instance in instances]
            for command in commands:
                await one.reply(command, Answer(text="1"))
            for instance in instances:
                await one.command(instance, "second")
        assert two.engine.processing == frozenset()
        ids = [record.value for record in await one.everything(one.topics.commands("work"))]
        assert len(ids) == 40
