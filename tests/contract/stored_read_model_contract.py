"""What a read model promises that keeps itself in a database: every database passes it by a subclass that supplies
``url``, the address of an empty one.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import JsonValue
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.adapters.read_model.addresses import dialect_of
from sagaline.orchestrator.errors import ReadModelCleared, TransientError
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.ports.read_model import (
    DocumentRow,
    EntityFilter,
    EntityRow,
    InstanceFilter,
    Standing,
    Update,
    WaitFilter,
    WaitKind,
)

from .read_model_contract import STATE, asking, document, helping, lock, overdue, row, update

__all__ = ["StoredReadModelContract", "executed", "opened"]

LATE = WaitFilter(WaitKind.OVERDUE)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def opened(url: str, namespace: str = "t", **more: timedelta) -> SqlReadModel:
    return await SqlReadModel.open(url, namespace=namespace, **more)


def executed(url: str, *statements: str) -> None:
    """As an operator would, beside the read model."""
    dialect = dialect_of(url)
    engine = dialect.engine(60)
    with engine.begin() as connection:
        connection.exec_driver_sql(dialect.begin(10))
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


class StoredReadModelContract:
    interrupted: str
    """What the driver says of a statement that was interrupted."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError("the binding supplies the address of an empty database")

    async def test_what_was_applied_is_there_after_opening_again(self, url: str) -> None:
        first = await opened(url)
        await first.apply(update(document(), history=(row(1),), position=3))
        await first.close()
        second = await opened(url)
        assert await second.get("order-checkout/A-1") == document()
        assert set((await second.standing()).positions.values()) == {3}
        await second.close()

    async def test_tables_of_another_version_are_cleared_to_be_rebuilt(self, url: str) -> None:
        first = await opened(url)
        await first.apply(update(document(), position=3))
        await first.close()
        rename = "ALTER TABLE read_instances RENAME COLUMN document TO something"
        executed(url, "UPDATE read_meta SET version = 999", rename)
        with capture_logs() as said:
            second = await opened(url)
        assert [(line["log_level"], line["found"]) for line in said] == [("warning", 999)]
        assert (await second.standing()).positions == {}
        assert await second.list(InstanceFilter(), limit=9) == ([], None)
        await second.apply(update(document(), position=3))
        assert await second.get("order-checkout/A-1") == document()
        await second.close()

    async def test_history_older_than_its_retention_is_dropped_in_the_long_run(self, url: str) -> None:
        model = await opened(url, history_retention=timedelta(seconds=10))
        await model.apply(update(history=(row(1, "old", at_ms=1_000), row(2, "kept", at_ms=95_000)), position=1))
        for n in range(70):
            await model.apply(update(history=(row(3 + n, "new", at_ms=100_000),), position=2 + n))
        assert list(await model.history("order-checkout/old", limit=9)) == []
        assert len(await model.history("order-checkout/kept", limit=9)) == 1
        assert len(await model.history("order-checkout/new", limit=99)) == 70
        await model.close()

    async def test_use_after_close_is_an_error_not_a_hang(self, url: str) -> None:
        model = await opened(url)
        await model.close()
        with pytest.raises(TransientError):
            await model.get("order-checkout/A-1")

    async def test_two_namespaces_in_one_database_never_touch_each_other(self, url: str) -> None:
        """Same ids, same topics' places: neither sees, changes, removes or clears what is the other's."""
        ours, theirs = await opened(url, "a"), await opened(url, "b")
        late = overdue("A-2", 5)
        await ours.apply(update(document(), late, history=(row(1),), position=9))
        await ours.apply(helping(lock("l", "a/3")))
        for listed in (await theirs.list(InstanceFilter(), limit=9), await theirs.waits(LATE, limit=9)):
            assert listed == ([], None)
        assert await theirs.entities(EntityFilter("@"), limit=9) == ([], None)
        assert (await theirs.get(document().id), await theirs.entity(lock("l").id)) == (None, None)
        assert list(await theirs.history(document().id, limit=9)) == []
        assert (await theirs.standing()).positions == {}
        await theirs.apply(update(document(revision=7), position=1))
        await theirs.apply(Update({late.id: DocumentRow(99, None)}, (), {}))
        await theirs.clear()
        assert (await ours.get(document().id), await ours.get(late.id)) == (document(), late)
        assert len((await ours.waits(LATE, limit=9)).rows) == 1
        assert list(await ours.history(document().id, limit=9)) == [row(1)]
        assert set((await ours.standing()).positions.values()) == {9}
        await ours.apply(update(document(), position=10))
        for model in (ours, theirs):
            await model.close()

    async def test_history_is_pruned_faster_than_it_comes_and_not_by_a_clock_that_ran_ahead(self, url: str) -> None:
        model = await opened(url, history_retention=timedelta(seconds=10))
        old = tuple(row(n, "old", at_ms=1_000) for n in range(50))
        await model.apply(update(history=old, position=1, now_ms=2_000))
        ahead = (row(50, "ahead", at_ms=3_600_000),)
        await model.apply(update(history=ahead, position=2, now_ms=3_000))
        assert len(await model.history("order-checkout/old", limit=99)) == 50
        for n in range(25):
            await model.apply(update(history=(row(51 + n, "new", at_ms=20_000),), position=3 + n, now_ms=20_000))
        assert list(await model.history("order-checkout/old", limit=99)) == []
        assert len(await model.history("order-checkout/new", limit=99)) == 25
        await model.close()

    async def test_a_query_that_takes_too_long_is_interrupted_and_its_thread_is_free(self, url: str) -> None:
        """More of them than there are threads; the next query is answered at once."""
        model = await opened(url)
        await model.apply(update(document()))
        ended: list[str] = []

        def endless(connection: Connection) -> int:
            try:
                return int(connection.exec_driver_sql(ENDLESS).scalar_one())
            except DBAPIError as error:
                ended.append(str(error.orig))
                raise

        threads = model._threads
        for _ in range(3):
            outcomes = await asyncio.gather(
                *(threads.read(endless, seconds=0.1) for _ in range(4)), return_exceptions=True
            )
            assert {type(outcome) for outcome in outcomes} == {TransientError}
            assert await model.get(document().id) == document()
        assert {self.interrupted in each for each in ended} == {True}
        await model.close()

    async def test_a_query_that_nobody_waits_for_any_more_is_interrupted(self, url: str) -> None:
        model = await opened(url)
        begun, ended = threading.Event(), threading.Event()

        def endless(connection: Connection) -> int:
            begun.set()
            try:
                return int(connection.exec_driver_sql(ENDLESS).scalar_one())
            finally:
                ended.set()

        asked = asyncio.create_task(model._threads.read(endless))
        assert await asyncio.to_thread(begun.wait, 5)
        asked.cancel()
        assert await asyncio.to_thread(ended.wait, 5)
        await model.close()

    async def test_a_write_that_is_given_up_changes_nothing_and_harms_no_other(self, url: str) -> None:
        model = await opened(url)
        await model.apply(update(document()))

        def endless(connection: Connection) -> None:
            connection.exec_driver_sql("DELETE FROM read_instances")
            connection.exec_driver_sql(ENDLESS).scalar_one()

        with pytest.raises(TransientError, match=r"within 0.1 s"):
            await model._threads.write(endless, seconds=0.1)
        assert await model.get(document().id) == document()
        await model.apply(update(document(revision=2), position=2))
        await model.close()

    @pytest.mark.parametrize(
        "key", ["nul \0 in it", "\0", "\ud800", "half \udfff", "\x1a0000", "\x1a\0\ud800", "a\tb\n"]
    )
    async def test_a_text_that_databases_do_not_hold_is_found_and_comes_back(self, url: str, key: str) -> None:
        """Records that others wrote may hold what no key of a client's does."""
        model = await opened(url)
        named = {"definition": f"d {key}", "key": f"k {key}", "steps": {}, "state": {}, "timers": {}}
        if key.encode(errors="replace") != key.encode(errors="ignore"):
            # A half cannot be written in a document: only in what removes or asks.
            await model.apply(Update({f"x/{key}": DocumentRow(1, None)}, (), {STATE: 1}))
            assert await model.get(f"x/{key}") is None
            assert await model.list(InstanceFilter(key=key, definition=key), limit=9) == ([], None)
            assert await model.waits(WaitFilter(WaitKind.QUESTION, key, key), limit=9) == ([], None)
            assert list(await model.history(key, limit=9)) == []
            await model.close()
            return
        first, second = (replace(document(), id=f"x/{n}{key}", **named) for n in range(2))
        late = overdue("A-3", 5, id=f"late/{key}", definition=f"d {key}")
        asked = asking("A-4", 7, f"w {key}", id=f"asked/{key}", definition=f"d {key}")
        await model.apply(update(first, second, late, asked, history=(row(1, key),)))
        assert await model.get(first.id) == first
        where = InstanceFilter(definition=f"d {key}", key=f"k {key}")
        one = await model.list(where, limit=1)
        two = await model.list(where, limit=1, cursor=one.cursor)
        assert [*one.documents, *two.documents] == [second, first]
        assert [each.instance for each in (await model.waits(LATE, limit=9)).rows] == [late.id]
        of_one = WaitFilter(WaitKind.QUESTION, f"d {key}", f"w {key}")
        assert [each.instance for each in (await model.waits(of_one, limit=9)).rows] == [asked.id]
        assert list(await model.history(f"order-checkout/{key}", limit=9)) == [row(1, key)]
        assert await model.entities(EntityFilter(f"@lock/{key}"), limit=9) == ([], None)
        await model.close()

    @pytest.mark.parametrize("number", [2**31, 2**62, 2**63, 2**64, 10**30, -(10**30)])
    async def test_a_number_of_any_length_is_taken_and_shown_as_it_was(self, url: str, number: int) -> None:
        model = await opened(url)
        large = document("A-1", version=number, revision=number, created_ms=number, updated_ms=number)
        late, usual = overdue("A-2", number), document("A-3", state={"n": number})
        await model.apply(update(large, late, usual, history=(row(1, at_ms=number),)))
        assert [await model.get(each.id) for each in (large, late, usual)] == [large, late, usual]
        found: list[Document] = []
        cursor: str | None = None
        for _ in range(3):
            page = await model.list(InstanceFilter(), limit=1, cursor=cursor)
            found += page.documents
            cursor = page.cursor
        assert (sorted(each.key for each in found), cursor) == (["A-1", "A-2", "A-3"], None)
        assert len((await model.waits(LATE, limit=9)).rows) == 1
        assert (await model.history(large.id, limit=9))[0].record.at_ms == number
        await model.close()

    async def test_what_json_has_not_and_what_is_deep_comes_back(self, url: str) -> None:
        model = await opened(url)
        deep: JsonValue = 1
        for _ in range(120):
            deep = [deep]
        strange = document("A-1", state={"deep": deep, "nul": "\0", "large": 1e308, "text": "x" * 300_000})
        await model.apply(update(strange, document("A-2", state={"nan": float("nan")})))
        assert await model.get(strange.id) == strange
        assert "nan" in str(await model.get("order-checkout/A-2"))
        await model.close()

    async def test_what_cannot_be_written_harms_only_itself(self, url: str) -> None:
        model = await opened(url)
        deep: JsonValue = 1
        for _ in range(150):
            deep = [deep]
        with capture_logs() as said:
            await model.apply(update(document("A-1"), document("A-2", state={"deep": deep})))
        assert [line["id"] for line in said] == ["order-checkout/A-2"]
        assert await model.get("order-checkout/A-1") == document("A-1")
        assert await model.get("order-checkout/A-2") is None
        assert set((await model.standing()).positions.values()) == {1}
        await model.close()

    async def test_what_another_has_written_is_not_written_again(self, url: str) -> None:
        ours, theirs = await opened(url), await opened(url)
        await ours.apply(update(document("A-1"), position=5))
        await theirs.apply(update(document("A-2"), position=5))
        assert await theirs.get("order-checkout/A-2") is None
        await theirs.apply(update(document("A-2"), position=6))
        assert await ours.get("order-checkout/A-2") == document("A-2")
        for model in (ours, theirs):
            await model.close()

    async def test_what_was_removed_stays_removed_when_one_lags_in_its_partition_and_leads_in_another(
        self, url: str
    ) -> None:
        ours, theirs = await opened(url), await opened(url)
        other = STATE._replace(partition=STATE.partition + 1)
        made, held = document(), lock("order:1", "x/1")

        async def feed(model: SqlReadModel, sequence: int, stands: bool, lead: int) -> None:
            documents = {made.id: DocumentRow(sequence, made if stands else None, at=STATE)}
            entities = {held.id: EntityRow(sequence, held if stands else None, STATE)}
            await model.apply(Update(documents, (), {STATE: sequence + 3, other: lead}, entities))

        await feed(ours, 160, False, lead=10)
        await feed(theirs, 100, True, lead=20)
        assert await ours.get(made.id) is None
        assert await ours.entity(held.id) is None
        assert (await ours.standing()).positions == {STATE: 163, other: 20}
        await feed(theirs, 163, True, lead=21)
        assert (await ours.get(made.id), await ours.entity(held.id)) == (made, held)
        for model in (ours, theirs):
            await model.close()

    async def test_nobody_writes_while_it_is_cleared_and_all_who_clear_share_one_clearing(self, url: str) -> None:
        ours, theirs = await opened(url), await opened(url)
        await ours.apply(update(document(), position=5))
        executed(url, "UPDATE read_logs SET clearing = 1, generation = 1", "DELETE FROM read_positions")
        with pytest.raises(ReadModelCleared):
            await ours.apply(update(document("A-2"), position=6, generation=1))
        await asyncio.gather(*(model.clear() for model in (ours, theirs, ours)))
        assert (await ours.standing())._replace(fed_ms=0) == Standing(
            {}, {}, 0, (await theirs.standing()).generation, False
        )
        assert await theirs.get(document().id) is None
        await ours.apply(update(document(), position=1, generation=(await ours.standing()).generation))
        assert await theirs.get(document().id) == document()
        for model in (ours, theirs):
            await model.close()

    @pytest.mark.parametrize("dropped", ["read_logs", "read_instances", "read_positions"])
    async def test_tables_that_are_dropped_are_made_again(self, url: str, dropped: str) -> None:
        """Whoever worked with them begins anew, and takes nothing of another namespace for his own."""
        ours, theirs = await opened(url, "a"), await opened(url, "b")
        await ours.apply(update(document(), position=9))
        executed(url, f"DROP TABLE {dropped}")
        with pytest.raises(TransientError):
            await theirs.apply(update(document("A-2"), position=1))
        assert (await theirs.standing()).positions == {}
        await theirs.apply(update(document("A-2"), position=1))
        with pytest.raises(ReadModelCleared):
            await ours.apply(update(document("A-3"), position=10))
        assert await ours.get("order-checkout/A-2") is None
        assert (await ours.standing()).positions == {}
        await ours.apply(update(document(), position=1))
        assert await ours.get(document().id) == document()
        assert await theirs.get("order-checkout/A-2") == document("A-2")
        for model in (ours, theirs):
            await model.close()
