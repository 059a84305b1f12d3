"""What the read model port promises about searches: filters, counts, orders, cursors; part of its behaviour suite."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from sagaline.orchestrator.adapters.read_model import sql
from sagaline.orchestrator.errors import InvalidRequest
from sagaline.orchestrator.messages.document import Cause, CauseKind, Document, Status
from sagaline.orchestrator.messages.entity_messages import SetRules
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.ports.read_model import (
    SPANS_MAX,
    Comparison,
    Condition,
    Count,
    DocumentRow,
    HistoryRow,
    InstanceFilter,
    OperationFilter,
    ReadModel,
    Sort,
    SortBy,
    Span,
    Update,
)

from .read_model_contract import STATE, document, overdue, row, update

__all__ = ["SearchContract"]

BY_KEY = Sort(SortBy.KEY, ascending=True)


class SearchContract:
    async def test_all_conditions_hold_at_once_and_the_count_follows_them(self, read_model: ReadModel) -> None:
        early, late = Span(until_ms=1_500), Span(since_ms=1_500)
        failed = Cause(kind=CauseKind.REJECTED, message="no", at_ms=3, code="card-declined")
        stuck = Cause(kind=CauseKind.UNDO, message="no", at_ms=3)
        one = document("A-1", version=2, cause=failed, status=Status.COMPENSATING)
        stands = {"cause": failed, "attention": stuck, "status": Status.ATTENTION}
        two = document("A-2", created_ms=2_000, updated_ms=3_000, **stands)
        three = overdue("B-1", 5, created_ms=3_000, updated_ms=4_000, paused=True)
        other = document("A-1", id="refund/A-1", definition="refund", status=Status.COMPLETED, created_ms=4_000)
        await read_model.apply(update(one, two, three, other))

        async def keys(**where: Any) -> str:
            asked = InstanceFilter(**where)
            found = [each.id for each in (await read_model.list(asked, limit=10)).documents]
            assert await read_model.count(asked) == Count(len(found), True)
            return " ".join(found).replace("order-checkout/", "")

        assert await keys(statuses=(Status.ATTENTION, Status.COMPENSATING)) == "A-2 A-1"
        assert await keys(version=2) == "A-1"
        assert await keys(version=1, definition="order-checkout") == "B-1 A-2"
        assert await keys(key_prefix="A-", definition="order-checkout") == "A-2 A-1"
        assert await keys(started=early) == "A-1"
        assert await keys(started=late, updated=Span(2_000, 4_000)) == "A-2"
        assert await keys(code="card-declined") == "A-2 A-1"
        assert (await keys(code="rejected"), await keys(code="undo")) == ("A-2 A-1", "A-2")
        assert await keys(code="card-declined", statuses=(Status.ATTENTION,)) == "A-2"
        assert (await keys(is_overdue=True), await keys(is_overdue=False)) == ("B-1", "refund/A-1 A-2 A-1")
        assert (await keys(is_paused=True), await keys(is_paused=False)) == ("B-1", "refund/A-1 A-2 A-1")
        assert await keys(is_paused=True, is_overdue=True, key_prefix="B", started=late) == "B-1"
        assert await keys(key="A-1", version=1, is_paused=False) == "refund/A-1"
        assert await keys(is_paused=True, code="undo") == ""

    async def test_starts_are_counted_by_span_and_by_the_status_of_now(self, read_model: ReadModel) -> None:
        """As a plain count says of random ones: on a boundary, before all spans and behind them, of two definitions."""
        drawn = random.Random(7)
        edges = [0, 99, 100, 199, 200, 300, 301, 399, 400, 10_000, 2**53]
        many = [
            document(
                f"A-{n}",
                id=f"{name}/A-{n}",
                definition=name,
                created_ms=drawn.choice([*edges, drawn.randrange(500)]),
                status=drawn.choice([*Status]),
            )
            for name, n in product(("order-checkout", "refund"), range(60))
        ]
        spans = [Span(100, 200), Span(200, 300), Span(300, 400), Span(500_000, 500_001), Span(100, 400)]
        assert await read_model.started(spans) == [dict.fromkeys(Status, 0)] * len(spans)
        await read_model.apply(update(*many))
        for definition in (None, "order-checkout", "refund", "unknown'"):
            expected = [
                {
                    status: sum(
                        each.status is status
                        and each.definition == (definition or each.definition)
                        and since <= each.created_ms < until
                        for each in many
                    )
                    for status in Status
                }
                for since, until in ((100, 200), (200, 300), (300, 400), (500_000, 500_001), (100, 400))
            ]
            assert await read_model.started(spans, definition) == expected
        assert len(await read_model.started([Span(n, n + 1) for n in range(SPANS_MAX)])) == SPANS_MAX
        ended = next(each for each in many if each.status is Status.RUNNING and 100 <= each.created_ms < 200)
        before = (await read_model.started(spans[:1]))[0]
        await read_model.apply(update(replace(ended, status=Status.COMPLETED, revision=2), position=2))
        after = (await read_model.started(spans[:1]))[0]
        assert after[Status.RUNNING] == before[Status.RUNNING] - 1
        assert after[Status.COMPLETED] == before[Status.COMPLETED] + 1

    async def test_instances_are_found_by_their_searchable_fields(
        self, read_model: ReadModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sold(key: str, *attributes: tuple[str, Any]) -> DocumentRow:
            fields = tuple((name, Decimal(v) if type(v) is int else v) for name, v in attributes)
            return DocumentRow(0, document(key), fields)

        long = "x" * 300
        at = datetime(2026, 5, 1, tzinfo=UTC)
        rows = [
            sold("A-1", ("customer", "ann"), ("total", 900), ("sku", "tea"), ("sku", "pot"), ("note", long)),
            sold("A-2", ("customer", "anna"), ("total", 1_000), ("gift", True), ("at", at)),
            sold("A-3", ("customer", "ben"), ("total", -5), ("sku", "tea"), ("gift", False), ("note", long + "y")),
        ]
        made = Update({row.document.id: row for row in rows if row.document}, (), {STATE: 1}, now_ms=1)
        await read_model.apply(made)

        async def keys(*conditions: tuple[str, str, Any], **where: Any) -> str:
            given = [(n, s, Decimal(v) if type(v) is int else v) for n, s, v in conditions]
            asked = InstanceFilter(attributes=tuple(Condition(n, Comparison(s), v) for n, s, v in given), **where)
            found = [each.key for each in (await read_model.list(asked, limit=10, sort=BY_KEY)).documents]
            assert await read_model.count(asked) == Count(len(found), True)
            return " ".join(found)

        assert await keys(("customer", "=", "ann")) == "A-1"
        assert await keys(("customer", "^=", "ann")) == "A-1 A-2"
        assert await keys(("total", ">=", 900), ("total", "<", 1_000)) == "A-1"
        assert (await keys(("total", ">", 900)), await keys(("total", "<=", 900))) == ("A-2", "A-1 A-3")
        assert await keys(("sku", "=", "tea"), ("sku", "=", "pot")) == "A-1"
        assert await keys(("sku", "=", "tea"), ("total", "<", 0)) == "A-3"
        assert (await keys(("gift", "=", True)), await keys(("gift", "=", False))) == ("A-2", "A-3")
        assert (await keys(("at", "<=", at)), await keys(("at", ">", at))) == ("A-2", "")
        assert await keys(("note", "=", long)) == "A-1"
        assert await keys(("customer", "=", "ann"), key="A-1", is_overdue=False) == "A-1"
        assert await keys(("sku", "^=", "")) == "A-1 A-3"
        for most, expected in ((1, Count(1, False)), (2, Count(2, True)), (3, Count(2, True))):
            monkeypatch.setattr(sql, "COUNT_MAX", most)  # three values of two instances
            several = InstanceFilter(attributes=(Condition("sku", Comparison.PREFIX, ""),))
            assert await read_model.count(several) == expected
        assert (await keys(("customer", "=", "a%")), await keys(("custom", "=", "ann"))) == ("", "")

    async def test_what_an_instance_is_found_by_follows_its_newest_document(self, read_model: ReadModel) -> None:
        paid = InstanceFilter(attributes=(Condition("paid", Comparison.EQUAL, True),))
        paused = InstanceFilter(is_paused=True)
        for sequence, value, expected in ((5, False, 0), (7, True, 1), (6, False, 1)):
            row = DocumentRow(sequence, document(revision=sequence, paused=value), (("paid", value),))
            await read_model.apply(Update({row.document.id: row} if row.document else {}, (), {STATE: sequence + 1}))
            assert [await read_model.count(each) for each in (paid, paused)] == [Count(expected, True)] * 2
        await read_model.apply(Update({"order-checkout/A-1": DocumentRow(8, None)}, (), {STATE: 9}))
        assert [await read_model.count(each) for each in (paid, paused)] == [Count(0, True)] * 2

    @pytest.mark.parametrize("by", SortBy)
    @pytest.mark.parametrize("ascending", [False, True])
    @pytest.mark.parametrize(
        "where", [InstanceFilter(), InstanceFilter(is_paused=True), InstanceFilter(key_prefix="A-")]
    )
    async def test_every_order_is_paged_without_gaps(
        self, read_model: ReadModel, by: SortBy, ascending: bool, where: InstanceFilter
    ) -> None:
        def made(n: int) -> Document:
            definition = ("order-checkout", "refund")[n % 2]
            more = {"version": 1 + n % 3, "created_ms": 1_000 + n // 3, "updated_ms": 9_000 - n // 2}
            status = (Status.RUNNING, Status.COMPLETED)[n // 4 % 2]
            key = f"A-{n // 2 % 7}-{n // 14}"
            return document(key, id=f"{definition}/{key}", definition=definition, status=status, paused=True, **more)

        many = [made(n) for n in range(25)]
        await read_model.apply(update(*many))
        values = {
            SortBy.CREATED: lambda each: (each.created_ms,),
            SortBy.UPDATED: lambda each: (each.updated_ms,),
            SortBy.DEFINITION: lambda each: (each.definition,),
            SortBy.VERSION: lambda each: (each.definition, each.version),
            SortBy.KEY: lambda each: (each.key,),
            SortBy.STATUS: lambda each: (each.status.value,),
        }[by]
        found: list[Document] = []
        cursor: str | None = None
        for _ in range(5):
            page = await read_model.list(where, limit=6, cursor=cursor, sort=Sort(by, ascending))
            found, cursor = [*found, *page.documents], page.cursor
        assert cursor is None
        order = sorted(many, key=lambda each: (*values(each), each.created_ms, each.id), reverse=not ascending)
        assert [each.id for each in found] == [each.id for each in order]
        cursor = (await read_model.list(where, limit=6, sort=Sort(by, ascending))).cursor
        with pytest.raises(InvalidRequest):
            await read_model.list(where, limit=6, cursor=cursor, sort=Sort(by, not ascending))

    async def test_what_people_asked_for_is_listed_newest_first_and_nothing_else(self, read_model: ReadModel) -> None:
        def asked(sequence: int, message: Any, at_ms: int, outcome: Outcome = Outcome.APPLIED) -> HistoryRow:
            status = Status.RUNNING
            record = HistoryRecord(
                instance=message.instance, revision=1, at_ms=at_ms, outcome=outcome, status=status, message=message
            )
            return row(sequence)._replace(record=record)

        acts = [
            asked(
                n, Act(id=f"r-{n}", instance=f"o/{n % 2}", act=ActName.PAUSE, by=("ann", "ben")[n % 2]), 1_000 + n // 2
            )
            for n in range(7)
        ]
        rules = asked(1, SetRules(id="r", instance="@table/ways", rules=(), by="ann"), 9_000)
        denied = asked(8, Act(id="r-8", instance="o/1", act=ActName.CANCEL), 500, Outcome.DENIED)
        await read_model.apply(update(history=(row(1), *acts, rules, denied)))

        async def listed(**where: Any) -> list[HistoryRecord]:
            found: list[HistoryRow] = []
            cursor: str | None = None
            for _ in range(9):
                page = await read_model.operations(OperationFilter(**where), limit=2, cursor=cursor)
                found, cursor = [*found, *page.rows], page.cursor
                if cursor is None:
                    return [each.record for each in found]
            raise AssertionError("the list has no end")

        rows = [*acts, rules, denied]
        order = [each.record for each in sorted(rows, key=lambda r: (r.record.at_ms, r.record.instance, r.sequence))]
        order.reverse()
        assert await listed() == order
        assert await listed(who="ann") == [each for each in order if getattr(each.message, "by", None) == "ann"]
        assert await listed(who="") == [denied.record]
        assert await listed(target="o/1", act="cancel") == [denied.record]
        assert await listed(act="set-rules") == [rules.record]
        assert await listed(who="ben", at=Span(1_001, 1_003)) == [acts[5].record, acts[3].record]
        assert await listed(target="order-checkout/A-1") == []
        with pytest.raises(InvalidRequest):
            await read_model.operations(OperationFilter(), limit=2, cursor="x")
