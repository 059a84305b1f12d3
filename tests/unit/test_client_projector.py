"""The projector: the read model follows the log, is rebuilt from it, and one bad record harms only itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.documents import encode_document, encode_history
from sagaline.orchestrator.errors import ForeignLog, TransientError
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.ports.log import Outgoing, TopicPartition
from sagaline.orchestrator.ports.read_model import DocumentRow, InstanceFilter, Landmark, Standing, Update
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.runtime.projector import Projector
from sagaline.sagas.examples.order_checkout import checkout
from tests.contract.read_model_contract import document, row

from .stack import order, running, stack

TOPICS = Topics("t")
ID = "order-checkout/A-1"


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[tuple[SqliteLog, SqlReadModel]]:
    async with SqliteLog(folder / "sagaline.db", clock=SystemClock()) as log:
        await log.create_topics(TOPICS.specs([], 1))
        read_model = await SqlReadModel.open(f"sqlite:///{folder / 'sagaline.db'}", namespace="t")
        try:
            yield log, read_model
        finally:
            await read_model.close()


def state(key: str = "A-1", *, updated_ms: int = 1_000, revision: int = 1) -> Outgoing:
    found = document(key, updated_ms=updated_ms, revision=revision)
    return Outgoing(TOPICS.state, found.id.encode(), encode_document(found))


def decided(key: str = "A-1", revision: int = 1) -> Outgoing:
    record = row(0, key, revision=revision).record
    return encode_history(TOPICS.history, 0, record, id="1", request="r", source="/t")


async def there(read_model: SqlReadModel, revision: int = 1) -> None:
    """Waits until the instance can be read at this revision."""
    async with asyncio.timeout(20):
        while True:
            found = await read_model.get(ID)
            if found is not None and found.revision >= revision:
                return
            await asyncio.sleep(0.02)


async def test_documents_and_history_are_followed_to_the_end(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await log.append([state(), decided(), state(revision=2, updated_ms=2_000), decided(revision=2)])
            await projector.caught_up(timeout=5)
            assert await projector.lag() == 0
            found = await read_model.get(ID)
            assert found is not None
            assert found.revision == 2
            rows = await read_model.history(ID, limit=9)
            assert [each.record.revision for each in rows] == [1, 2]
            assert rows[0].sequence < rows[1].sequence
            assert dict((await read_model.standing()).positions) == dict(await log.end_offsets(TOPICS.shown))


async def test_a_tombstone_takes_the_instance_and_leaves_its_history(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await log.append([state(), decided()])
            await projector.caught_up(timeout=5)
            await log.append([Outgoing(TOPICS.state, ID.encode(), None)])
            await projector.caught_up(timeout=5)
            assert await read_model.get(ID) is None
            assert len(await read_model.history(ID, limit=9)) == 1


async def test_bad_records_are_counted_and_passed_over(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        metrics = Metrics()
        projector = Projector(log, TOPICS, read_model, SystemClock(), metrics=metrics)
        await log.append(
            [
                Outgoing(TOPICS.state, b"x/1", b"not json"),
                Outgoing(TOPICS.state, b"x/2", b'{"format": 999}'),
                Outgoing(TOPICS.state, b"x/3", encode_document(document())),
                Outgoing(TOPICS.state, b"\xff", None),
                Outgoing(TOPICS.state, POSITION_KEY, b'{"offset": 1}'),
                Outgoing(TOPICS.history, b"x/1", b"{}"),
                Outgoing(TOPICS.history, b"x/1", None),
                state(),
                decided(),
            ]
        )
        async with running(projector.run()):
            await projector.caught_up(timeout=5)
        assert metrics.counts["projector.skipped"] == 6
        assert [each.id for each in (await read_model.list(InstanceFilter(), limit=9)).documents] == [ID]
        assert len(await read_model.history(ID, limit=9)) == 1


async def test_it_goes_on_from_where_it_stood(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        for n in range(3):
            projector = Projector(log, TOPICS, read_model, SystemClock())
            async with running(projector.run()):
                fresh = document(f"A-{n}", updated_ms=SystemClock().now_ms())
                await log.append([Outgoing(TOPICS.state, fresh.id.encode(), encode_document(fresh)), decided()])
                await projector.caught_up(timeout=5)
            assert projector.rebuilds == (1 if n == 0 else 0)
        assert len((await read_model.list(InstanceFilter(), limit=9)).documents) == 3


@pytest.mark.slow
async def test_a_rebuild_ends_with_what_the_log_holds(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await log.append([state(), decided()])
            await projector.caught_up(timeout=5)
            ghost = document("ghost", updated_ms=5_000)
            await read_model.apply(Update({ghost.id: DocumentRow(9, ghost)}, (), {}))
            await projector.rebuild(timeout=10)
            assert await read_model.get(ghost.id) is None
            assert await read_model.get(ID) == document()
            assert len(await read_model.history(ID, limit=9)) == 1


@asynccontextmanager
async def fed(folder: Path, count: int) -> AsyncIterator[SqlReadModel]:
    """A read model that has followed a log of so many decisions, to its end."""
    await asyncio.to_thread(folder.mkdir)
    async with parts(folder) as (log, read_model):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            for n in range(count):
                await log.append([state(f"B-{n}"), decided(f"B-{n}")])
            await projector.caught_up(timeout=5)
        yield read_model


@pytest.mark.parametrize("decisions", [1, 3, 5], ids=["shorter", "as long", "longer"])
async def test_a_read_model_that_was_fed_from_another_log_stands_still_and_loses_nothing(
    tmp_path: Path, decisions: int
) -> None:
    """Whether the log is shorter than the other one or not: a record of the history tells them apart."""
    async with fed(tmp_path / "other", 3) as read_model, parts(tmp_path) as (log, _):
        for n in range(decisions):
            await log.append([state(f"A-{n}"), decided(f"A-{n}")])
        projector = Projector(log, TOPICS, read_model, SystemClock())
        with pytest.raises(
            ForeignLog, match=r"another log: t\.(state|history)/0 .*saga read-model clear --namespace t"
        ):
            await projector.check()
        async with running(projector.run()):
            with pytest.raises(TransientError, match="another log"):
                await projector.followed(timeout=5)
        assert await read_model.get("order-checkout/B-1") == document("B-1")
        assert await read_model.get("order-checkout/A-0") is None
        await read_model.clear()
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await projector.followed(timeout=5)
        assert await read_model.get("order-checkout/B-1") is None
        assert await read_model.get("order-checkout/A-0") == document("A-0")


async def test_a_log_without_the_topics_that_it_was_fed_from_is_another_one(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        await read_model.apply(Update({}, (), {TopicPartition(TOPICS.state, 7): 1}))
        with pytest.raises(ForeignLog, match=r"t\.state/7 does not exist"):
            await Projector(log, TOPICS, read_model, SystemClock()).check()


async def test_the_same_log_is_known_again_although_its_history_is_gone(tmp_path: Path) -> None:
    """What retention has taken is no sign of another log; what it still keeps is."""
    async with parts(tmp_path) as (log, read_model):
        await log.append([decided(), decided(revision=2)])
        at, now_ms = TopicPartition(TOPICS.history, 0), SystemClock().now_ms()
        projector = Projector(log, TOPICS, read_model, SystemClock())
        recent, long_ago = Landmark(-1, "gone", now_ms - 3_600_000), Landmark(-1, "gone", now_ms - 90 * 86_400_000)
        await read_model.apply(Update({}, (), {at: 1}, landmarks={at: recent}))
        with pytest.raises(ForeignLog, match="no longer has a record at offset -1"):
            await projector.check()
        await read_model.apply(Update({}, (), {at: 2}, landmarks={at: long_ago}))
        await projector.check()


async def test_until_it_has_caught_up_nobody_may_conclude_from_what_is_missing(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        await log.append([state(), decided()])
        projector = Projector(log, TOPICS, read_model, SystemClock())
        with pytest.raises(TransientError, match="not caught up"):
            await projector.followed(timeout=0)
        async with running(projector.run()):
            await projector.followed(timeout=5)
            assert await read_model.get(ID) == document()
            await log.append([state("A-2")])
            await projector.followed(timeout=0)


@pytest.mark.slow
async def test_what_somebody_else_clears_is_rebuilt_without_a_hole(tmp_path: Path) -> None:
    """By whoever follows, idle or not."""
    async with parts(tmp_path) as (log, read_model), parts(tmp_path) as (_, other):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await log.append([state(), decided()])
            await projector.caught_up(timeout=5)
            await other.clear()
            assert await read_model.get(ID) is None
            await log.append([state("A-2")])
            await there(read_model)
            await other.clear()
            await there(read_model)
            assert len(await read_model.history(ID, limit=9)) == 1


async def test_what_was_not_cleared_to_its_end_is_cleared_first(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        ghost = document("ghost")
        await read_model.apply(Update({ghost.id: DocumentRow(9, ghost)}, (), {}))
        with sqlite3.connect(tmp_path / "sagaline.db") as connection:
            connection.execute("UPDATE read_logs SET clearing = 1")
        connection.close()
        await log.append([state()])
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await projector.followed(timeout=5)
        assert await read_model.get(ghost.id) is None
        assert await read_model.get(ID) == document()


async def test_after_a_long_stand_it_begins_anew_because_tombstones_may_be_gone(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        at = {TopicPartition(TOPICS.state, 0): 0, TopicPartition(TOPICS.history, 0): 0}
        long_ago_ms = SystemClock().now_ms() - 13 * 3_600_000
        await read_model.apply(Update({ID: DocumentRow(0, document())}, (), at, now_ms=long_ago_ms))
        await log.append([state("A-2")])
        projector = Projector(log, TOPICS, read_model, SystemClock())
        async with running(projector.run()):
            await projector.caught_up(timeout=5)
        assert await read_model.get(ID) is None


class Flaky:
    """The real read model behind a connection that fails some times."""

    def __init__(self, inner: SqlReadModel, failures: int) -> None:
        self._inner, self.failures = inner, failures

    async def apply(self, update: Update) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        await self._inner.apply(update)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class Slow:
    """A read model whose position arrives late, once it is told to be slow."""

    def __init__(self, model: SqlReadModel) -> None:
        self._model = model
        self.is_slow = False
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    async def standing(self) -> Standing:
        found = await self._model.standing()
        if self.is_slow:
            self.asked.set()
            await self.go_on.wait()
        return found


async def test_what_is_applied_while_the_position_is_read_is_no_cleared_read_model(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        slow = Slow(read_model)
        projector = Projector(log, TOPICS, slow, SystemClock())  # type: ignore[arg-type]
        async with running(projector.run()):
            await log.append([state(), decided()])
            await projector.caught_up(timeout=20)
            slow.is_slow = True
            reader = asyncio.create_task(projector.caught_up(timeout=20))
            await slow.asked.wait()
            await log.append([state(revision=2, updated_ms=2_000), decided(revision=2)])
            await there(read_model, revision=2)
            assert await projector.lag() == 0
            slow.go_on.set()
            await reader


@pytest.mark.slow
async def test_an_update_that_is_not_taken_is_tried_again_and_nothing_is_lost(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        flaky = Flaky(read_model, failures=2)
        projector = Projector(log, TOPICS, flaky, SystemClock())  # type: ignore[arg-type]  # the rest by delegation
        async with running(projector.run()):
            await log.append([state(), decided()])
            await projector.caught_up(timeout=5)
        assert flaky.failures == 0
        assert await read_model.get(ID) == document()


async def test_passed_waits_for_document_and_history_and_gives_up_in_time(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model):
        projector = Projector(log, TOPICS, read_model, SystemClock())
        place = (TopicPartition(TOPICS.history, 0), 0)
        async with running(projector.run()):
            assert not await projector.passed(ID, 1, place, timeout=0.02)
            await log.append([decided()])
            await projector.caught_up(timeout=5)
            assert not await projector.passed(ID, 1, place, timeout=0.02)
            waiting = asyncio.create_task(projector.passed(ID, 2, place, timeout=5))
            await log.append([state(revision=1), state(revision=2, updated_ms=2_000)])
            assert await waiting
            assert await projector.passed(ID, 1, place, timeout=5)


async def test_what_the_engine_decided_is_what_is_shown(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        started = [await up.client.start(checkout, order(f"K-{n}"), key=f"K-{n}") for n in range(30)]
        await up.projector.caught_up(timeout=5)
        shown: Sequence[str] = [each.id for each in (await up.read_model.list(InstanceFilter(), limit=99)).documents]
        assert sorted(shown) == sorted(each.instance for each in started)
        assert {each.status for each in (await up.read_model.list(InstanceFilter(), limit=99)).documents} == {
            Status.RUNNING
        }


async def test_two_processes_may_feed_the_same_read_model(tmp_path: Path) -> None:
    async with parts(tmp_path) as (log, read_model), parts(tmp_path) as (other_log, other):
        first = Projector(log, TOPICS, read_model, SystemClock())
        second = Projector(other_log, TOPICS, other, SystemClock())
        async with running(first.run(), second.run()):
            now_ms = SystemClock().now_ms()
            for n in range(40):
                writer = (log, other_log)[n % 2]
                await writer.append([state(f"A-{n % 5}", updated_ms=now_ms + n, revision=n), decided(f"A-{n % 5}", n)])
            await first.caught_up(timeout=10)
            await second.caught_up(timeout=10)
        for model in (read_model, other):
            found = (await model.list(InstanceFilter(), limit=99)).documents
            assert sorted(each.revision for each in found) == [35, 36, 37, 38, 39]
            assert len(await model.history("order-checkout/A-0", limit=99)) == 8
        assert dict((await other.standing()).positions) == dict(await log.end_offsets(TOPICS.shown))
