"""What a partition remembers of handled messages: within its window, up to its count, and what identifies one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.sagas import DefinitionError, Event
from sagaline.workers import Dedup, Worker
from sagaline.workers.dedup import Identity, Remembered

from ..worker_world import Pack

HOUR_MS = 3_600_000


def identity(id: str, *, name: str = "packed", count_max: int = 100) -> Identity:
    found = Dedup(within=timedelta(hours=1), count_max=count_max).identity(name, "/shop", id, None)
    assert found is not None
    return found


def never() -> None:
    raise AssertionError("nothing else is at work")


def handle(remembered: Remembered, of: Identity, at_ms: int) -> dict[bytes, bytes | None] | None:
    """What is to be written; None: it is a duplicate."""
    if not remembered.begin(of, at_ms, never):
        return None
    state = dict(remembered.finished(of, at_ms))
    remembered.end(of)
    return state


def test_a_message_is_a_duplicate_within_the_window_of_the_first_and_then_new_again() -> None:
    remembered = Remembered()
    a = identity("a")
    assert handle(remembered, a, 0) == {a.document: str(HOUR_MS).encode()}
    assert handle(remembered, a, HOUR_MS) is None
    assert handle(remembered, identity("a", name="unpacked"), HOUR_MS) is not None
    assert handle(remembered, a, HOUR_MS + 1) == {a.document: str(2 * HOUR_MS + 1).encode()}


def test_what_is_older_than_the_window_or_beyond_the_count_is_removed_from_the_state() -> None:
    remembered = Remembered()
    a, b, c, d = (identity(id, count_max=2) for id in "abcd")
    handle(remembered, a, 0)
    handle(remembered, b, 10)
    full = handle(remembered, c, 20)
    assert full is not None
    assert full.keys() == {a.document, c.document}
    assert full[a.document] is None
    late = handle(remembered, d, HOUR_MS + 11)
    assert late is not None
    assert late.keys() == {b.document, d.document}
    assert handle(remembered, c, HOUR_MS + 11) is None
    assert handle(remembered, a, HOUR_MS + 11) is not None


def test_the_next_owner_knows_what_was_written_and_forgets_other_subscriptions() -> None:
    first, second = Remembered(), Remembered()
    written: dict[bytes, bytes | None] = {}
    a, b, gone = identity("a", count_max=2), identity("b", count_max=2), identity("a", name="gone")
    for each, at_ms in ((b, 5), (a, 3), (gone, 4)):
        written |= handle(first, each, at_ms) or {}
    for document, until in written.items():
        assert until is not None
        second.restore(document, int(until))
    assert second.taken(frozenset({"packed"})) == {gone.document: None}
    assert handle(second, b, 6) is None
    more = handle(second, identity("c", count_max=2), 7)
    assert more is not None
    assert more[a.document] is None, "the oldest is forgotten first"


def test_those_of_one_identity_come_again_when_the_first_has_left_and_one_takes_its_place() -> None:
    remembered = Remembered()
    a, came, begun = identity("a"), list[str](), list[str]()

    def begin(name: str) -> None:
        came.append(name)
        if remembered.begin(a, 0, partial(begin, name)):
            begun.append(name)

    for each in ("first", "second", "third"):
        begin(each)
    assert begun == ["first"]
    remembered.end(a)  # it has failed
    assert begun == ["first", "second"], "the next one is handled in its place"
    remembered.finished(a, 0)
    remembered.end(a)
    assert came == ["first", "second", "third", "second", "third", "third"]
    assert begun == ["first", "second"], "it is a duplicate"


class Tagged(BaseModel):
    tags: dict[str, int]


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        (None, ("/shop", "1", Pack()), ("/shop", "2", Pack())),
        (None, ("/shop", "1", Pack()), ("/another", "1", Pack())),
        ("item", ("/another", "2", Pack(count=9)), ("/shop", "1", Pack(item="pen"))),
        (lambda pack: (pack.item, pack.count), ("/another", "2", Pack()), ("/shop", "1", Pack(count=2))),
    ],
)
def test_a_message_is_identified_by_source_and_id_a_field_or_a_function(by: Any, same: Any, other: Any) -> None:
    """CloudEvents 1.0: source and id together are unique, an id alone is not."""
    dedup = Dedup(within=timedelta(hours=1), by=by)
    first = dedup.identity("packed", "/shop", "1", Pack())
    assert dedup.identity("packed", *same) == first
    assert dedup.identity("packed", *other) != first


@pytest.mark.parametrize("by", ["tags", lambda body: body, lambda body: [body.tags]])
def test_the_order_in_a_dict_is_no_part_of_an_identity(by: Any) -> None:
    dedup = Dedup(within=timedelta(hours=1), by=by)
    first, second = Tagged(tags={"a": 1, "b": 2}), Tagged(tags={"b": 2, "a": 1})
    assert dedup.identity("n", "", "1", first) == dedup.identity("n", "", "1", second)


class Bag(BaseModel):
    words: set[str] = {"a", "b"}


@dataclass
class Held:
    bag: Bag


@pytest.mark.parametrize(
    "by",
    [
        lambda bag: bag.words,
        lambda bag: frozenset(bag.words),
        lambda bag: {"words": [bag.words]},
        lambda bag: bag,
        lambda bag: Held(bag),
        lambda bag: {"a": 1}.keys(),
    ],
)
def test_a_set_is_refused_as_identity_for_its_order_differs_from_process_to_process(by: Any) -> None:
    with pytest.raises(TypeError, match=r"return sorted\(\.\.\.\) of it"):
        Dedup(within=timedelta(hours=1), by=by).identity("n", "", "1", Bag())


def test_a_field_that_is_a_set_is_refused_at_declaration() -> None:
    with pytest.raises(DefinitionError, match=r"by=lambda body: sorted\(body\.words\)"):

        @Worker("w").subscribes(Event("bag", Bag), dedup=Dedup(within=timedelta(hours=1), by="words"))
        async def handle(body: Bag) -> None: ...


def test_a_message_without_an_identity_is_never_a_duplicate() -> None:
    assert Dedup(within=timedelta(hours=1), by=lambda pack: None).identity("packed", "/shop", "1", Pack()) is None


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (lambda: Dedup(within=timedelta(0)), "give a positive timedelta"),
        (lambda: Dedup(within=timedelta(hours=1), count_max=0), "give a whole number, 1 or more"),
        (lambda: Dedup(within=timedelta(hours=1), by=3), "give a function"),  # type: ignore[arg-type]
        (lambda: timedelta(hours=1), "give a Dedup, as in"),
        (lambda: Dedup(within=timedelta(hours=1), by="sku"), "Pack has no such field; it has item, count"),
    ],
)
def test_a_wrong_deduplication_is_refused_at_declaration(given: Any, remedy: str) -> None:
    with pytest.raises(DefinitionError, match=remedy):

        @Worker("w").subscribes(Event("packed", Pack), dedup=given())
        async def handle(body: Pack) -> None: ...
