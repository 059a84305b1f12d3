"""What a query costs at a million instances: p50, p95 and processor time in ms, through the adapter, documents decoded.

    python bench/read_model.py
    python bench/read_model.py --instances 100000 --database sqlite:///read.db
    python bench/read_model.py --database postgresql://user:password@host/database

An empty database is filled through the adapter's own way of writing, then each query that the API documents is asked
many times with values drawn at random, first one at a time, then four at once. A third of the instances is open; every
600th is overdue, every 150th asks one of 500 people; pages have the API's default size. One that is filled already is
measured as it is, with the same ``--instances``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from time import perf_counter, process_time

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.messages.document import Document, Status, StepRecord, StepStatus
from sagaline.orchestrator.messages.entities import Mailbox, Watcher
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.ports.log import TopicPartition
from sagaline.orchestrator.ports.read_model import (
    NEWEST_FIRST,
    WAITED,
    Comparison,
    Condition,
    DocumentRow,
    EntityFilter,
    EntityRow,
    HistoryRow,
    InstanceFilter,
    Sort,
    SortBy,
    Span,
    Update,
    WaitFilter,
    WaitKind,
)

STATE = TopicPartition("bench.state", 0)
BATCH, ASKED, DEFINITIONS, PEOPLE = 5_000, 200, 9, 500
T0 = 1_700_000_000_000

Query = Callable[[random.Random], Awaitable[object]]


def status_of(n: int) -> Status:
    if n % 3:
        return Status.COMPLETED
    return Status.ATTENTION if n % 99 == 0 else Status.RUNNING


def steps_of(n: int) -> dict[str, StepRecord]:
    done = StepRecord(status=StepStatus.DONE, at_ms=T0 + n, kind="step", undo="release-stock", attempt=1, order=1)
    steps = {
        "reserve": done,
        "charge": StepRecord(status=StepStatus.SENT, at_ms=T0 + n, kind="step", undo="refund", attempt=1),
    }
    if n % 600 == 0:
        steps["charge"] = StepRecord(
            status=StepStatus.SENT, at_ms=T0 + n, kind="step", attempt=1, memo={"overdue_ms": T0 + 2 * n}
        )
    if n % 150 == 0:
        memo = {
            "question": "May it be shipped?",
            "who": [f"p-{n // 150 % PEOPLE}"],
            "asked_ms": T0,
            "due_ms": T0 + 3 * n,
        }
        steps["approve"] = StepRecord(status=StepStatus.WAITING, at_ms=T0 + n, kind="ask", memo=memo)
    return steps


def document(n: int) -> Document:
    order = {
        "id": f"A-{n}",
        "customer": f"C-{n % 1000}",
        "total_cents": n,
        "lines": [{"sku": "book", "quantity": 1}] * 5,
    }
    return Document(
        id=f"order-{n % DEFINITIONS}/A-{n}",
        definition=f"order-{n % DEFINITIONS}",
        version=1,
        key=f"A-{n}",
        status=status_of(n),
        revision=4,
        state={"order": order, "stock": {"reservation": f"R-{n}"}},
        digest="0" * 64,
        started_by="r",
        incarnation="k3x9wq2z",
        created_ms=T0 + n,
        updated_ms=T0 + n + 9_000,
        steps=steps_of(n),
        timers={"charge:deadline": T0 + n + 30_000},
    )


def attributes(n: int) -> tuple[tuple[str, str | Decimal], ...]:
    return (("customer", f"C-{n % 1000}"), ("total_cents", Decimal(n)), ("country", ("CH", "DE", "FR")[n % 3]))


def record(found: Document) -> HistoryRecord:
    message = Start(id="r", definition=found.definition, key=found.key, input=found.state)
    at_ms = found.created_ms
    return HistoryRecord(
        instance=found.id, revision=1, at_ms=at_ms, outcome=Outcome.APPLIED, status=found.status, message=message
    )


def mailbox(n: int) -> Mailbox:
    watchers = (Watcher(by=f"order-0/A-{n}", place="paid", index=0),) if n % 1_000 == 0 else ()
    return Mailbox(id=f"@mailbox/paid/{n:07}", event="paid", key=f"{n:07}", watchers=watchers)


async def fill(model: SqlReadModel, count: int) -> None:
    began = perf_counter()
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        found = [document(n) for n in numbers]
        boxes = [mailbox(n) for n in numbers if n % 10 == 0]
        await model.apply(
            Update(
                {each.id: DocumentRow(n, each, attributes(n)) for n, each in zip(numbers, found, strict=True)},
                [HistoryRow(n, record(each)) for n, each in zip(numbers, found, strict=True)],
                {STATE: numbers[-1] + 1},
                {each.id: EntityRow(1, each) for each in boxes},
                now_ms=T0 + count,
            )
        )
    seconds = perf_counter() - began
    print(f"filled {count:,} instances in {seconds:.0f} s, {count / seconds:,.0f} per second")


def searches(model: SqlReadModel, count: int) -> dict[str, Query]:
    """Each filter as a list and as a count."""

    def a(random: random.Random) -> str:
        return f"order-{random.randrange(DEFINITIONS)}"

    def by(name: str, sign: str, value: str | Decimal) -> Condition:
        return Condition(name, Comparison(sign), value)

    def searched(draw: Callable[[random.Random], InstanceFilter], sort: Sort = NEWEST_FIRST) -> dict[str, Query]:
        return {
            "list": lambda random: model.list(draw(random), limit=50, sort=sort),
            "count": lambda random: model.count(draw(random)),
        }

    def customer(random: random.Random) -> Condition:
        return by("customer", "=", f"C-{random.randrange(1000)}")

    def total(random: random.Random) -> Condition:
        return by("total_cents", ">=", Decimal(random.randrange(count)))

    def soon(random: random.Random) -> Span:
        first = T0 + random.randrange(count)
        return Span(first, first + count // 1000)

    several = (Status.ATTENTION, Status.ABANDONED)
    found = {
        "nothing": searched(lambda _: InstanceFilter()),
        "nothing, by last change": searched(lambda _: InstanceFilter(), Sort(SortBy.UPDATED)),
        "two statuses": searched(lambda _: InstanceFilter(statuses=several)),
        "two statuses, by last change": searched(lambda _: InstanceFilter(statuses=several), Sort(SortBy.UPDATED)),
        "key prefix": searched(lambda random: InstanceFilter(key_prefix=f"A-{random.randrange(1000)}")),
        "customer": searched(lambda random: InstanceFilter(attributes=(customer(random),))),
        "customer, by key": searched(
            lambda random: InstanceFilter(attributes=(customer(random),)), Sort(SortBy.KEY, ascending=True)
        ),
        "customer and total": searched(lambda random: InstanceFilter(attributes=(customer(random), total(random)))),
        "total": searched(lambda random: InstanceFilter(attributes=(total(random),))),
        "a total that few have": searched(
            lambda random: InstanceFilter(attributes=(by("total_cents", "<", Decimal(random.randrange(1000))),))
        ),
        "country and attention": searched(
            lambda random: InstanceFilter(statuses=several, attributes=(by("country", "=", "CH"),))
        ),
        "overdue of a definition and version": searched(
            lambda random: InstanceFilter(a(random), version=1, is_overdue=True)
        ),
        "a thousandth of the time, not paused": searched(
            lambda random: InstanceFilter(
                started=Span(T0 + (n := random.randrange(count)), T0 + n + count // 1000), is_paused=False
            )
        ),
    }
    return {f"{verb}: {name}": query for name, both in found.items() for verb, query in both.items()}


def queries(model: SqlReadModel, count: int) -> dict[str, Query]:
    def a(random: random.Random) -> str:
        return f"order-{random.randrange(DEFINITIONS)}"

    def key(random: random.Random) -> str:
        return f"A-{random.randrange(count)}"

    def instances(**named: Callable[[random.Random], object]) -> Query:
        def ask(random: random.Random) -> Awaitable[object]:
            drawn = {name: draw(random) for name, draw in named.items()}
            statuses = (drawn.pop("status"),) if "status" in drawn else ()
            where = InstanceFilter(statuses=statuses, **drawn)  # type: ignore[arg-type]  # drawn
            return model.list(where, limit=50)

        return ask

    def status(random: random.Random) -> Status:
        return random.choice([Status.RUNNING, Status.ATTENTION, Status.COMPLETED, Status.ABANDONED])

    async def second_page(random: random.Random) -> object:
        where = InstanceFilter(a(random), (status(random),))
        page = await model.list(where, limit=50)
        return await model.list(where, limit=50, cursor=page.cursor)

    def waits(kind: WaitKind, *, who: bool = False, definition: bool = False) -> Query:
        def ask(random: random.Random) -> Awaitable[object]:
            name = f"p-{random.randrange(PEOPLE)}" if who else None
            return model.waits(WaitFilter(kind, a(random) if definition else None, name), limit=200)

        return ask

    def of(random: random.Random) -> str:
        n = random.randrange(count)
        return f"order-{n % DEFINITIONS}/A-{n}"

    hours = [Span(T0 + n * count // 24, T0 + (n + 1) * count // 24) for n in range(24)]
    return {
        "one instance": lambda random: model.get(of(random)),
        "history of one": lambda random: model.history(of(random), limit=100),
        "instances": instances(),
        "instances by definition": instances(definition=a),
        "instances by status": instances(status=status),
        "instances by definition and status": instances(definition=a, status=status),
        "instances by key": instances(key=key),
        "instances by definition and key": instances(definition=a, key=key),
        "instances by status and key": instances(status=status, key=key),
        "instances by all three": instances(definition=a, status=status, key=key),
        "two pages by definition and status": second_page,
        "starts of 24 hours": lambda _: model.started(hours),
        "starts of 24 hours by definition": lambda random: model.started(hours, a(random)),
        "overdue": waits(WaitKind.OVERDUE),
        "overdue by definition": waits(WaitKind.OVERDUE, definition=True),
        "questions": waits(WaitKind.QUESTION),
        "questions by definition": waits(WaitKind.QUESTION, definition=True),
        "questions of one person": waits(WaitKind.QUESTION, who=True),
        "questions of one person by definition": waits(WaitKind.QUESTION, who=True, definition=True),
        "mailboxes": lambda _: model.entities(EntityFilter("@mailbox/"), limit=50),
        "mailboxes at which somebody waits": lambda _: model.entities(EntityFilter("@mailbox/", WAITED), limit=50),
        **searches(model, count),
    }


async def timed(query: Query, seed: int, at_once: int) -> tuple[float, float, float]:
    """p50, p95 and processor time per query, in milliseconds."""
    drawn = random.Random(seed)
    times: list[float] = []

    async def ask() -> None:
        for _ in range(ASKED // at_once):
            began = perf_counter()
            await query(drawn)
            times.append((perf_counter() - began) * 1e3)

    worked = process_time()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    worked = (process_time() - worked) * 1e3 / len(times)
    times.sort()
    return times[len(times) // 2], times[len(times) * 95 // 100], worked


async def bench(database: str, count: int) -> None:
    model = await SqlReadModel.open(database, namespace="bench", deadline=timedelta(minutes=2))
    try:
        if not (await model.standing()).positions:
            await fill(model, count)
        print("| query | p50 ms | p95 ms | processor ms | four at once: p50 ms | p95 ms |\n|---|---|---|---|---|---|")
        for name, query in queries(model, count).items():
            alone, together = await timed(query, 1, 1), await timed(query, 2, 4)
            print(f"| {name} | " + " | ".join(f"{each:.1f}" for each in (*alone, *together[:2])) + " |", flush=True)
    finally:
        await model.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--database", help="kept; default a temporary SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sagaline-bench-") as folder:
        asyncio.run(bench(options.database or f"sqlite:///{Path(folder) / 'read.db'}", options.instances))


if __name__ == "__main__":
    main()
