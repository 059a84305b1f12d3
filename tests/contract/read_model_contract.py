"""The behaviour suite of the read model port: every adapter passes it by a subclass that supplies ``read_model``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from sagaline.orchestrator.errors import InvalidRequest, ReadModelCleared
from sagaline.orchestrator.kernel.waits import OpenQuestion, OverdueStep, open_questions, overdue_steps
from sagaline.orchestrator.messages.document import Cause, CauseKind, Document, Status, StepRecord, StepStatus
from sagaline.orchestrator.messages.entities import (
    DeletedSchedule,
    Entity,
    Grant,
    KeptEvent,
    Lock,
    Mailbox,
    Parcel,
    ParcelStatus,
    Table,
    Watcher,
)
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.outputs import Change, Outcome
from sagaline.orchestrator.messages.values import JsonObject
from sagaline.orchestrator.ports.log import TopicPartition
from sagaline.orchestrator.ports.read_model import (
    WAITED,
    DocumentRow,
    EntityFilter,
    EntityRow,
    HistoryRow,
    InstanceFilter,
    Landmark,
    ReadModel,
    Standing,
    Update,
    WaitFilter,
    WaitKind,
    WaitRow,
)

__all__ = ["STATE", "ReadModelContract", "document", "helping", "overdue", "row", "update"]

STATE = TopicPartition("t.state", 0)
FIRST, HISTORY = TopicPartition("t.history", 0), TopicPartition("t.history", 1)


def document(key: str = "A-1", *, updated_ms: int = 1_000, revision: int = 1, **more: object) -> Document:
    fresh = Document(
        id=f"order-checkout/{key}",
        definition="order-checkout",
        version=1,
        key=key,
        status=Status.RUNNING,
        revision=revision,
        state={"order": {"id": key, "note": "ü €"}},
        digest="d",
        started_by="r",
        incarnation="k3x9wq2z",
        created_ms=1_000,
        updated_ms=updated_ms,
        steps={"reserve": StepRecord(status=StepStatus.SENT, at_ms=1_000, kind="step", undo="release", attempt=1)},
        timers={"reserve:deadline": 31_000},
    )
    return replace(fresh, **more)  # type: ignore[arg-type]  # fields by name, as the caller gives them


def row(sequence: int, key: str = "A-1", *, at_ms: int = 1_000, revision: int = 1) -> HistoryRow:
    instance = f"order-checkout/{key}"
    record = HistoryRecord(
        instance=instance,
        revision=revision,
        at_ms=at_ms,
        outcome=Outcome.APPLIED,
        status=Status.RUNNING,
        message=Start(id="r", definition="order-checkout", key=key, input={"a": [1, None, "x"]}),
        changes=(Change(what="instance", before=None, after="running"),),
        sent=(SentCommand(id=f"{instance}/reserve/1", contract="reserve-stock", queue="inventory"),),
    )
    return HistoryRow(sequence, record)


def update(*documents: Document, history: tuple[HistoryRow, ...] = (), position: int = 1, **more: object) -> Update:
    """All documents come from the record before ``position``."""
    rows = {each.id: DocumentRow(position - 1, each) for each in documents}
    made = Update(rows, history, {STATE: position, HISTORY: position}, now_ms=1_000_000_000_000)
    return made._replace(**more)  # type: ignore[arg-type]  # fields by name, as the caller gives them


def overdue(key: str, overdue_ms: int, **more: Any) -> Document:
    late = StepRecord(status=StepStatus.SENT, at_ms=900, kind="step", attempt=1, memo={"overdue_ms": overdue_ms})
    return document(key, steps={"reserve": late}, **more)


def asking(key: str, due_ms: int, *who: str, claimed_by: str | None = None, **more: Any) -> Document:
    memo: JsonObject = {"question": "may I?", "who": list(who), "asked_ms": 5, "due_ms": due_ms}
    record = StepRecord(status=StepStatus.WAITING, at_ms=900, kind="ask", memo=memo | {"claimed_by": claimed_by})
    return document(key, steps={"approve": record}, **more)


def lock(name: str = "order:1", *waiting: str, revision: int = 1) -> Lock:
    holder, *others = (Grant(by=by, place="reserve", at_ms=5) for by in ("order-checkout/A-1", *waiting))
    return Lock(id=f"@lock/{name}", name=name, revision=revision, holder=holder, waiting=tuple(others))


def helping(*entities: Entity, sequence: int = 1) -> Update:
    return Update({}, (), {STATE: sequence + 1}, {each.id: EntityRow(sequence, each) for each in entities})


class ReadModelContract:
    @pytest.fixture
    def read_model(self) -> AsyncIterator[ReadModel]:
        raise NotImplementedError("the binding supplies an open, empty read model")

    async def test_a_fresh_one_knows_nothing(self, read_model: ReadModel) -> None:
        assert await read_model.standing() == Standing({}, {}, 0, 0, clearing=False)
        assert await read_model.get("order-checkout/A-1") is None
        assert await read_model.list(InstanceFilter(), limit=10) == ([], None)
        assert list(await read_model.history("order-checkout/A-1", limit=10)) == []

    async def test_what_was_applied_comes_back_as_it_was(self, read_model: ReadModel) -> None:
        cause = Cause(kind=CauseKind.REJECTED, message="no", at_ms=3, step="reserve", code="x", detail="…")
        applied = document(status=Status.COMPENSATING, cause=cause, backward=True, traceparent="00-1-2-01")
        await read_model.apply(update(applied, history=(row(4),)))
        assert await read_model.get(applied.id) == applied
        assert list(await read_model.history(applied.id, limit=10)) == [row(4)]

    async def test_positions_come_with_the_update(self, read_model: ReadModel) -> None:
        mark = Landmark(5, "abc", 77)
        await read_model.apply(update(document(), position=7, landmarks={HISTORY: mark}, now_ms=8_000))
        assert await read_model.standing() == Standing({STATE: 7, HISTORY: 7}, {HISTORY: mark}, 8_000, 0, False)
        await read_model.apply(Update({}, (), {STATE: 9, HISTORY: 8}, now_ms=9_000))
        assert await read_model.standing() == Standing({STATE: 9, HISTORY: 8}, {HISTORY: mark}, 9_000, 0, False)

    async def test_applying_again_changes_nothing(self, read_model: ReadModel) -> None:
        same = update(document(), history=(row(1), row(2)), position=3)
        await read_model.apply(same)
        await read_model.apply(same)
        assert list(await read_model.history("order-checkout/A-1", limit=10)) == [row(1), row(2)]
        assert (await read_model.list(InstanceFilter(), limit=10)).documents == [document()]

    async def test_an_older_update_does_not_take_anything_back(self, read_model: ReadModel) -> None:
        newer = document(updated_ms=2_000, revision=5, status=Status.COMPLETED)
        await read_model.apply(update(newer, position=9))
        await read_model.apply(update(asking("A-1", 7, "ann", updated_ms=1_500, revision=4), position=4))
        await read_model.apply(Update({newer.id: DocumentRow(5, None)}, (), {STATE: 6}))
        assert await read_model.get(newer.id) == newer
        assert (await read_model.standing()).positions == {STATE: 9, HISTORY: 9}
        assert await read_model.waits(WaitFilter(WaitKind.QUESTION), limit=9) == ([], None)

    async def test_what_came_later_in_the_log_is_the_newer_one_whatever_the_clocks_say(
        self, read_model: ReadModel
    ) -> None:
        await read_model.apply(update(document(revision=2, updated_ms=3_600_000), position=2))
        await read_model.apply(update(later := document(revision=3, updated_ms=2_000), position=3))
        assert await read_model.get(later.id) == later

    async def test_a_key_that_is_used_again_after_its_retention_shows_the_new_instance(
        self, read_model: ReadModel
    ) -> None:
        await read_model.apply(update(document(revision=12, updated_ms=2_000, status=Status.COMPLETED)))
        await read_model.apply(update(document(revision=1, updated_ms=9_000), position=2))
        found = await read_model.get("order-checkout/A-1")
        assert found is not None
        assert (found.revision, found.status) == (1, Status.RUNNING)

    async def test_an_instance_that_is_gone_leaves_its_history(self, read_model: ReadModel) -> None:
        await read_model.apply(update(document(), history=(row(1),)))
        await read_model.apply(Update({"order-checkout/A-1": DocumentRow(1, None)}, (), {STATE: 2}))
        assert await read_model.get("order-checkout/A-1") is None
        assert list(await read_model.history("order-checkout/A-1", limit=10)) == [row(1)]

    async def test_the_history_is_read_by_its_place_in_the_log(self, read_model: ReadModel) -> None:
        rows = [row(n, f"A-{n}", at_ms=1_000 * n) for n in (0, 2, 3)]
        rows += [row(n, f"B-{n}", at_ms=1_000 * n + 1)._replace(partition=1) for n in (0, 1, 2)]
        await read_model.apply(Update({}, rows, {FIRST: 4, HISTORY: 7}))
        found = await read_model.decisions({FIRST: 1, HISTORY: 1}, limit=100)
        assert [(each.partition, each.offset) for each in found.rows] == [(1, 1), (0, 2), (1, 2), (0, 3)]
        assert [each.instance for each in found.rows] == [
            f"order-checkout/{key}" for key in ("B-1", "A-2", "B-2", "A-3")
        ]
        assert (found.following, found.first) == ({0: 4, 1: 7}, {0: 0, 1: 0})
        assert TypeAdapter(HistoryRecord).validate_json(found.rows[1].value) == rows[1].record

    async def test_a_page_of_the_history_continues_where_it_has_come_to(self, read_model: ReadModel) -> None:
        await read_model.apply(Update({}, [row(n, f"A-{n}") for n in range(5)], {FIRST: 9}))
        found: list[int] = []
        offset = 0
        while offset < 9:
            page = await read_model.decisions({FIRST: offset}, limit=2)
            found += [each.offset for each in page.rows]
            assert page.following[0] > offset
            offset = page.following[0]
        assert found == [0, 1, 2, 3, 4]
        assert await read_model.decisions({FIRST: 12}, limit=2) == ([], {0: 12}, {0: 0})

    async def test_what_was_not_read_yet_is_no_end_of_the_history(self, read_model: ReadModel) -> None:
        await read_model.apply(Update({}, [row(7)], {FIRST: 8}))
        assert await read_model.decisions({FIRST: 9, HISTORY: 3}, limit=2) == ([], {0: 9, 1: 3}, {0: 7, 1: 0})

    async def test_lists_newest_start_first_page_by_page_although_everything_changes_between_pages(
        self, read_model: ReadModel
    ) -> None:
        """Whatever matches all the time is on exactly one page; what is new is on none that is behind it."""
        many = [document(f"A-{n:02}", created_ms=1_000 + n // 3) for n in range(25)]
        await read_model.apply(update(*many))
        found: list[Document] = []
        cursor: str | None = None
        for turn in range(4):
            page = await read_model.list(InstanceFilter(statuses=(Status.RUNNING,)), limit=7, cursor=cursor)
            found += page.documents
            cursor = page.cursor
            changed = [replace(each, revision=2 + turn, updated_ms=9_000 + turn) for each in many]
            begun = document(f"B-{turn}", created_ms=5_000 + turn)
            await read_model.apply(update(*changed, begun, position=2 + turn))
        assert cursor is None
        assert [each.id for each in found] == [
            each.id for each in sorted(many, key=lambda each: (each.created_ms, each.id), reverse=True)
        ]

    async def test_a_page_that_is_exactly_full_is_the_last(self, read_model: ReadModel) -> None:
        await read_model.apply(update(document("A-1"), document("A-2")))
        assert (await read_model.list(InstanceFilter(), limit=2)).cursor is None

    async def test_all_conditions_of_a_filter_hold(self, read_model: ReadModel) -> None:
        done = document("A-2", status=Status.COMPLETED)
        other = document("A-1", id="refund/A-1", definition="refund")
        await read_model.apply(update(document("A-1"), done, other))

        async def ids(where: InstanceFilter) -> list[str]:
            return sorted(each.id for each in (await read_model.list(where, limit=10)).documents)

        assert await ids(InstanceFilter(statuses=(Status.COMPLETED,))) == [done.id]
        assert await ids(InstanceFilter(key="A-1")) == ["order-checkout/A-1", "refund/A-1"]
        assert await ids(InstanceFilter(key="A-1", definition="refund")) == ["refund/A-1"]
        assert await ids(InstanceFilter(key="A-1", statuses=(Status.COMPLETED,))) == []
        assert await ids(InstanceFilter(key="A-%")) == []

    async def test_overdue_steps_come_longest_overdue_first_however_many_there_are(self, read_model: ReadModel) -> None:
        """And not those that have changed last; the cursor says that there are more."""
        late = [overdue(f"A-{n:03}", 50_000 - 7 * n, updated_ms=1_000 + n) for n in range(60)]
        other = replace(overdue("R-1", 49_900), id="refund/R-1", definition="refund")
        await read_model.apply(update(*late, other, document("in-time")))
        first = await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=20)
        assert [row.instance for row in first.rows] == [late[n].id for n in range(59, 39, -1)]
        found, cursor = list(first.rows), first.cursor
        while cursor is not None:
            page = await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=20, cursor=cursor)
            found, cursor = [*found, *page.rows], page.cursor
        assert [row.instance for row in found] == [each.id for each in (*late[:14:-1], other, *late[14::-1])]
        of_one = await read_model.waits(WaitFilter(WaitKind.OVERDUE, "refund"), limit=9)
        assert [row.instance for row in of_one.rows] == [other.id]

    async def test_what_has_not_ended_is_counted_by_definition(self, read_model: ReadModel) -> None:
        """An instance with two overdue steps is overdue once; one in attention is open as well."""
        assert await read_model.tally() == {}
        late = StepRecord(status=StepStatus.SENT, at_ms=900, kind="step", attempt=1, memo={"overdue_ms": 5})
        cause = Cause(kind=CauseKind.CODE, message="m", at_ms=1)
        await read_model.apply(
            update(
                document("A-1", steps={"reserve": late, "charge": late}),
                document("A-2", status=Status.ATTENTION, attention=cause),
                document("A-3", status=Status.COMPENSATING),
                document("A-4", status=Status.COMPLETED),
                replace(document("R-1", status=Status.COMPLETED), id="refund/R-1", definition="refund"),
            )
        )
        assert await read_model.tally() == {"order-checkout": (3, 1, 1)}

    async def test_what_waits_comes_back_with_all_that_a_list_shows(self, read_model: ReadModel) -> None:
        """As the newest document of the instance says it, also to one person who may answer; hostile texts as well."""
        given_up = overdue("A-1", 40, timers={"reserve:deadline": 77}, version=3)
        kept, asked = overdue("A-2", 50, timers={}), asking("Q-1", 900, "ann", "ben '\x00\n🛒", version=2)
        await read_model.apply(update(given_up, kept, asked))
        late = await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=9)
        assert list(late.rows) == [
            WaitRow(each.id, each.definition, each.version, *overdue_steps(each)) for each in (given_up, kept)
        ]
        assert [row.wait.deadline_ms for row in late.rows if isinstance(row.wait, OverdueStep)] == [77, None]
        shown = WaitRow(asked.id, asked.definition, 2, *open_questions(asked))
        assert isinstance(shown.wait, OpenQuestion)
        for who in (None, *shown.wait.who):
            assert (await read_model.waits(WaitFilter(WaitKind.QUESTION, None, who), limit=9)).rows == [shown]
        claimed = asking("Q-1", 950, "ann", "ben", claimed_by="eve", revision=2, version=5)
        await read_model.apply(update(claimed, position=2))
        (row,) = (await read_model.waits(WaitFilter(WaitKind.QUESTION, None, "eve"), limit=9)).rows
        assert row == WaitRow(claimed.id, claimed.definition, 5, *open_questions(claimed))

    async def test_what_does_not_wait_any_more_is_not_listed(self, read_model: ReadModel) -> None:
        await read_model.apply(update(overdue("A-1", 5), overdue("A-2", 6), overdue("A-3", 7)))
        done = StepRecord(status=StepStatus.DONE, at_ms=2_000, kind="step", memo={"overdue_ms": 5})
        await read_model.apply(update(document("A-1", revision=2, steps={"reserve": done}), position=2))
        ended = overdue("A-2", 6, status=Status.ABANDONED, revision=2)
        await read_model.apply(update(ended, position=3))
        await read_model.apply(Update({"order-checkout/A-3": DocumentRow(4, None)}, (), {STATE: 5}))
        assert await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=9) == ([], None)

    async def test_questions_are_found_by_who_may_answer_now_those_due_soonest_first(
        self, read_model: ReadModel
    ) -> None:
        both, claimed = asking("A-1", 900, "ann", "ben"), asking("A-2", 800, "ann", "ben", claimed_by="ben")
        nobody = asking("A-3", 700)
        await read_model.apply(update(both, claimed, nobody))

        async def asked(who: str | None, definition: str | None = None) -> list[str]:
            page = await read_model.waits(WaitFilter(WaitKind.QUESTION, definition, who), limit=9)
            return [row.instance.removeprefix("order-checkout/") for row in page.rows]

        assert await asked(None) == ["A-3", "A-2", "A-1"]
        assert await asked("ann") == ["A-1"]
        assert await asked("ben") == ["A-2", "A-1"]
        assert await asked("ben", "order-checkout") == ["A-2", "A-1"]
        assert (await asked("eve"), await asked("ben", "refund")) == ([], [])
        await read_model.apply(update(asking("A-2", 800, "ann", "ben", "eve", revision=2), position=2))
        assert (await asked("eve"), await asked("ann")) == (["A-2"], ["A-2", "A-1"])

    async def test_a_cursor_of_another_list_is_refused(self, read_model: ReadModel) -> None:
        await read_model.apply(update(overdue("A-1", 5), overdue("A-2", 6)))
        instances = (await read_model.list(InstanceFilter(), limit=1)).cursor
        late = (await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=1)).cursor
        with pytest.raises(InvalidRequest):
            await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=1, cursor=instances)
        with pytest.raises(InvalidRequest):
            await read_model.waits(WaitFilter(WaitKind.QUESTION), limit=1, cursor=late)
        with pytest.raises(InvalidRequest):
            await read_model.list(InstanceFilter(), limit=1, cursor=late)

    async def test_after_a_clear_nobody_goes_on_where_he_stood(self, read_model: ReadModel) -> None:
        """Else what is rebuilt would have a hole between where the other stands and where it is."""
        await read_model.apply(update(document(), position=7))
        await read_model.clear()
        with pytest.raises(ReadModelCleared):
            await read_model.apply(update(document(), position=9))
        standing = await read_model.standing()
        assert (standing.positions, standing.generation, standing.clearing) == ({}, 1, False)
        await read_model.apply(update(document(), position=1, generation=1))
        assert await read_model.get("order-checkout/A-1") == document()

    @pytest.mark.parametrize("cursor", ["x", "", "AAAA", "bnVsbA", "WzEsMl0", "ü", "W" * 5000, "WzFlOTk5LCJhIl0"])
    async def test_a_foreign_cursor_is_refused(self, read_model: ReadModel, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await read_model.list(InstanceFilter(), limit=2, cursor=cursor)
        assert refused.value.field == "cursor"

    async def test_history_is_paged_by_sequence(self, read_model: ReadModel) -> None:
        rows = tuple(row(n) for n in (3, 5, 8, 13))
        await read_model.apply(update(document(), history=(*rows, row(4, "other"))))
        assert list(await read_model.history("order-checkout/A-1", limit=2)) == list(rows[:2])
        assert list(await read_model.history("order-checkout/A-1", after=5, limit=9)) == list(rows[2:])
        newest = await read_model.history("order-checkout/A-1", limit=2, newest_first=True)
        assert list(newest) == [rows[3], rows[2]]
        before = await read_model.history("order-checkout/A-1", after=8, limit=9, newest_first=True)
        assert list(before) == [rows[1], rows[0]]

    async def test_entities_come_back_as_they_were(self, read_model: ReadModel) -> None:
        taker = Watcher(by="a/1", place="wait", index=0)
        kept = KeptEvent(id="e", body={"n": 1, "note": "ü €"}, until_ms=9, taken_by=(taker,))
        watcher = Watcher(by="a/2", place="paid", index=0)
        box = Mailbox(id="@mailbox/paid/k/1", event="paid", key="k/1", watchers=(watcher,), kept=(kept,))
        rules = (Rule(when={"country": {"in": ["CH"]}}, to="customs"),)
        table = Table(id="@table/ways", name="ways", revision=2, version=2, rules=rules, changed_by="ann")
        await read_model.apply(helping(box, table, lock("l", "a/3")))
        for entity in (box, table, lock("l", "a/3")):
            assert await read_model.entity(entity.id) == entity
        assert await read_model.entity("@lock/none") is None
        assert await read_model.list(InstanceFilter(), limit=9) == ([], None)

    async def test_a_entity_with_nothing_to_remember_is_gone(self, read_model: ReadModel) -> None:
        await read_model.apply(helping(lock()))
        await read_model.apply(Update({}, (), {STATE: 3}, {lock().id: EntityRow(2, None)}))
        assert await read_model.entity(lock().id) is None

    async def test_a_entity_never_goes_back_and_may_begin_again(self, read_model: ReadModel) -> None:
        """Its revision begins anew after it was gone; the place of its record in the log never does."""
        await read_model.apply(helping(lock(revision=9), sequence=5))
        await read_model.apply(helping(lock(revision=8), sequence=4))
        await read_model.apply(Update({}, (), {STATE: 4}, {lock().id: EntityRow(3, None)}))
        assert await read_model.entity(lock().id) == lock(revision=9)
        await read_model.apply(helping(lock(revision=1), sequence=7))
        assert await read_model.entity(lock().id) == lock(revision=1)

    async def test_entities_of_a_prefix_are_listed_by_id_page_by_page(self, read_model: ReadModel) -> None:
        many = [lock(f"order:{n:02}") for n in range(15)]
        others = [Table(id="@table/lock", name="lock"), Mailbox(id="@mailbox/e/k", event="e", key="k")]
        await read_model.apply(helping(*reversed(many), *others))
        found: list[Entity] = []
        cursor: str | None = None
        for _ in range(3):
            page = await read_model.entities(EntityFilter("@lock/"), limit=6, cursor=cursor)
            found += page.entities
            cursor = page.cursor
        assert (found, cursor) == (many, None)
        assert (await read_model.entities(EntityFilter("@lock/order:1"), limit=5)).entities == many[10:]
        assert (await read_model.entities(EntityFilter("@lock/order:1"), limit=5)).cursor is None
        assert (await read_model.entities(EntityFilter("@lock/%"), limit=5)).entities == []

    async def test_entities_at_which_somebody_waits_are_found(self, read_model: ReadModel) -> None:
        idle, busy = lock("idle"), lock("busy", "a/2", "a/3")
        watched = Mailbox(id="@mailbox/e/k", event="e", key="k", watchers=(Watcher(by="a/1", place="w", index=0),))
        await read_model.apply(helping(idle, busy, watched, Table(id="@table/t", name="t")))
        assert (await read_model.entities(EntityFilter("@", WAITED), limit=9)).entities == [busy, watched]
        await read_model.apply(helping(lock("busy"), sequence=2))
        assert (await read_model.entities(EntityFilter("@lock/", WAITED), limit=9)).entities == []

    async def test_parcels_are_found_by_their_status(self, read_model: ReadModel) -> None:
        parcels = {
            status: Parcel(id=f"@parcel/{name}", status=status)
            for name, status in zip(("m-1", "g/a", "g/b", "h/c"), ParcelStatus, strict=True)
        }
        await read_model.apply(helping(*parcels.values()))
        for status, parcel in parcels.items():
            assert (await read_model.entities(EntityFilter("@parcel/", status), limit=9)).entities == [parcel]
        assert (await read_model.entities(EntityFilter("@parcel/h/", ParcelStatus.PARKED), limit=9)).entities == []

    async def test_a_deleted_schedule_is_in_no_list(self, read_model: ReadModel) -> None:
        """It can be read by its id: who has deleted it waits until it is."""
        mark = DeletedSchedule(id="@schedule/s", revision=2, through_ms=1, requests=("r",))
        await read_model.apply(helping(mark))
        assert (await read_model.entities(EntityFilter("@schedule/"), limit=9)).entities == []
        assert await read_model.entity("@schedule/s") == mark

    async def test_a_foreign_cursor_of_entities_is_refused(self, read_model: ReadModel) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await read_model.entities(EntityFilter("@"), limit=2, cursor="x")
        assert refused.value.field == "cursor"

    async def test_clear_forgets_everything(self, read_model: ReadModel) -> None:
        await read_model.apply(update(document(), history=(row(1),)))
        await read_model.apply(helping(lock()))
        await read_model.apply(update(overdue("A-2", 5)))
        await read_model.clear()
        assert await read_model.entity(lock().id) is None
        assert (await read_model.standing()).positions == {}
        assert await read_model.get("order-checkout/A-1") is None
        assert await read_model.waits(WaitFilter(WaitKind.OVERDUE), limit=9) == ([], None)
        assert list(await read_model.history("order-checkout/A-1", limit=10)) == []

    async def test_any_text_can_be_a_key(self, read_model: ReadModel) -> None:
        keys = ["'; drop table x; --", "a/b/history", "%2F", "ключ", "🛒", "x" * 256]
        await read_model.apply(update(*(document(key) for key in keys)))
        for key in keys:
            found = await read_model.get(f"order-checkout/{key}")
            assert found is not None
            assert found.key == key

    async def test_concurrent_use(self, read_model: ReadModel) -> None:
        async def one(n: int) -> Document | None:
            await read_model.apply(update(document(f"A-{n}"), position=n + 1))
            return await read_model.get(f"order-checkout/A-{n}")

        found = await asyncio.gather(*(one(n) for n in range(20)))
        assert [each.key if each else None for each in found] == [f"A-{n}" for n in range(20)]

    async def test_close_is_idempotent(self, read_model: ReadModel) -> None:
        await read_model.close()
        await read_model.close()
