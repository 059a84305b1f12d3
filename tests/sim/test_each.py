"""A collection of ten thousand: the parent only counts, some parts are under way at once, and crashes lose none."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
import structlog
from pydantic import BaseModel

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.testing import Fault
from sagaline.sagas import Contract, Rejected, Saga, step
from sagaline.sagas.nodes import each
from sagaline.testing import World

CONCURRENCY = 100
PARTS = 10_000
LOOKS_MAX = 2_000


class Row(BaseModel):
    number: int
    again: bool = False


class Booked(BaseModel):
    ok: bool = True


class File(BaseModel):
    rows: int
    booked: int = 0


class Rows(Sequence[Row]):
    """The rows of a file, made when they are asked for: the collection itself never stands in memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]  # slices are not asked for
        return Row(number=index)


book_row = Contract("book-row", Row, Booked, queue="books")
unbook_row = Contract("unbook-row", Row, Booked, queue="books")


def import_of(tolerate: int) -> Saga[File]:
    book = step(book_row, name="book")(lambda s: s)
    book.undo(unbook_row)(lambda s: s)
    rows = each(
        Saga("row", Row, flow=[book]),
        of=lambda s: Rows(s.rows),
        gather=lambda s, row: s.model_copy(update={"booked": s.booked + 1}),
        concurrency=CONCURRENCY,
        tolerate=tolerate,
        name="rows",
    )
    return Saga("import", File, flow=[rows])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def versions(world: World, instance: str) -> list[tuple[int, Document]]:
    """Every state of an instance that was ever stored, with its size in bytes."""
    return [
        (len(record.value), decode_document(record.value))
        for records in world.broker.snapshot()[world.topics.state]
        for record in records
        if record.key == instance.encode() and record.value
    ]


def under_way(document: Document) -> int:
    found = (document.steps["rows"].memo or {})["under_way"]
    assert isinstance(found, list)
    return len(found)


def most_at_once(world: World, instance: str, crashes: int) -> int:
    """Plays to the end, kills the engine so many times on the way, and counts the parts that are open at once."""
    most, killed = 0, 0
    for _ in range(LOOKS_MAX):
        documents = world.documents()
        if documents[instance].status.is_final:
            assert killed == crashes, "it ended before the engine was killed as often as was asked"
            return most
        most = max(most, sum(not each.status.is_final for id, each in documents.items() if id != instance))
        done = len(documents) - 1
        if killed < crashes and done > (killed + 1) * PARTS // (crashes + 1):
            world.crash("engine")
            killed += 1
        world.advance(seconds=4)
    raise AssertionError(f"{instance} does not end")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.long
def test_ten_thousand_parts_stay_out_of_the_document_of_their_parent() -> None:
    """One row in a thousand is refused, which is tolerated; the engine is killed three times in between."""
    saga = import_of(tolerate=PARTS // 1_000)
    with World(saga, seed=5) as world:
        world.answer(book_row, lambda row: Rejected("bad row", code="bad") if row.number % 1_000 == 7 else Booked())
        world.faults.set_rate(Fault.DELAY, 0.5)  # else all of it happens in no time
        file = world.start(saga, "F-1", File(rows=PARTS))
        most = most_at_once(world, file, crashes=3)
        documents = world.documents()
        assert documents[file].status is Status.COMPLETED
        assert world.state(file).booked == PARTS - PARTS // 1_000
        assert len(documents) == PARTS + 1
        asked = Counter(command.number for _, command in world.calls if isinstance(command, Row))
        assert len(asked) == PARTS
        stored = versions(world, file)
        assert max(size for size, _ in stored) < Limits().document_bytes // 50
        assert max(under_way(document) for _, document in stored) <= CONCURRENCY
        assert 0 < most <= CONCURRENCY


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_failure_too_many_takes_every_part_back_and_begins_no_more() -> None:
    """Row 1,000 and row 1,001 are refused, one is tolerated: what was booked is unbooked, once."""
    saga = import_of(tolerate=1)
    with World(saga, seed=6) as world:
        world.answer(book_row, lambda row: Rejected("bad", code="bad") if row.number in (1_000, 1_001) else Booked())
        world.faults.set_rate(Fault.DELAY, 0.5)  # else all of it happens in no time
        file = world.start(saga, "F-1", File(rows=PARTS))
        world.advance(seconds=5)
        assert not world.documents()[file].status.is_final
        world.crash("engine")
        world.settle()
        documents = world.documents()
        assert documents[file].status is Status.COMPENSATED
        assert {each.status for each in documents.values()} == {Status.COMPENSATED}
        assert 1_000 < len(documents) <= 1_002 + 2 * CONCURRENCY
        calls = Counter((name, command.number) for name, command in world.calls if isinstance(command, Row))
        booked = {number for name, number in calls if name == "book-row"} - {1_000, 1_001}
        assert {number for name, number in calls if name == "unbook-row"} == booked
        assert max(size for size, _ in versions(world, file)) < Limits().document_bytes // 50
