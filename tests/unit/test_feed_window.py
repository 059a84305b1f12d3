"""The feed below its transports: cursors, the types of events, the window in memory and what lies behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sagaline.orchestrator.client import Client, EventFilter, Feed, FeedEvent
from sagaline.orchestrator.client.following import follow
from sagaline.orchestrator.client.window import Window, later
from sagaline.orchestrator.codec.documents import encode_history
from sagaline.orchestrator.codec.feed_cursors import Positions, decode_cursor, encode_cursor, log_identity
from sagaline.orchestrator.codec.instance_events import event_json, read_event
from sagaline.orchestrator.codec.wire import BadRecord
from sagaline.orchestrator.errors import CursorTooOld, InvalidRequest, TransientError
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName, Failed, Message, Rejected, Start
from sagaline.orchestrator.messages.instance_events import EventType, InstanceEvent, event_type
from sagaline.orchestrator.messages.outputs import Change, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.log import Outgoing, Record, TopicPartition, TopicSpec

from .stack import PARTITIONS, Stack, order, running, stack

HERE = log_identity("t", 5)
ALL = EventFilter()


# Cursors


@pytest.mark.parametrize("positions", [(0,), (0, 0, 0, 0), (127, 128, 16_384), (2**63 - 1, 0), tuple(range(1_024))])
def test_a_cursor_comes_back_as_it_was_and_needs_no_escapes_in_a_url(positions: Positions) -> None:
    cursor = encode_cursor(HERE, positions)
    assert quote(cursor, safe="") == cursor
    assert decode_cursor(cursor, HERE, len(positions)) == positions


def test_a_cursor_is_short() -> None:
    assert len(encode_cursor(HERE, (1_000_000,) * 8)) <= 46


def test_a_cursor_from_before_the_topic_has_grown_begins_new_partitions_at_their_start() -> None:
    assert later(decode_cursor(encode_cursor(HERE, (7, 9)), HERE, 4), (0, 0, 0, 0)) == (7, 9, 0, 0)


def test_every_change_of_a_cursor_is_found() -> None:
    cursor = encode_cursor(HERE, (300, 4))
    changed = [cursor[:-1], cursor[1:], "", "=", "ü", cursor + "A", "A" * 20_000]
    changed += [cursor[:at] + ("B" if cursor[at] == "A" else "A") + cursor[at + 1 :] for at in range(len(cursor) - 1)]
    for each in changed:
        with pytest.raises(InvalidRequest) as refused:
            decode_cursor(each, HERE, 2)
        assert refused.value.field == "after"


@pytest.mark.parametrize("identity", [log_identity("t", 6), log_identity("u", 5)])
def test_a_cursor_of_another_log_is_refused(identity: bytes) -> None:
    with pytest.raises(InvalidRequest, match="another log"):
        decode_cursor(encode_cursor(identity, (1, 2)), HERE, 2)
    with pytest.raises(InvalidRequest, match="another log"):
        decode_cursor(encode_cursor(HERE, (1, 2, 3)), HERE, 2)


# Types


def began() -> Change:
    return Change(what="instance", before=None, after="running")


def moved(before: Status, after: Status) -> Change:
    return Change(what="instance", before=before.value, after=after.value)


PAUSE = Change(what="paused", before="resumed", after="paused")
RESUME = Change(what="paused", before="paused", after="resumed")
STEP = Change(what="reserve", before=None, after="sent")
APPLIED, DEFERRED = Outcome.APPLIED, Outcome.DEFERRED


@pytest.mark.parametrize(
    ("outcome", "status", "changes", "expected"),
    [
        (APPLIED, Status.RUNNING, [began(), STEP], "started"),
        (APPLIED, Status.COMPLETED, [began(), STEP, moved(Status.RUNNING, Status.COMPLETED)], "completed"),
        (APPLIED, Status.ATTENTION, [began(), moved(Status.RUNNING, Status.ATTENTION)], "attention"),
        (APPLIED, Status.RUNNING, [moved(Status.ATTENTION, Status.RUNNING)], "running"),
        (APPLIED, Status.COMPENSATING, [moved(Status.RUNNING, Status.COMPENSATING), STEP], "compensating"),
        (APPLIED, Status.ABANDONED, [moved(Status.ATTENTION, Status.ABANDONED)], "abandoned"),
        (APPLIED, Status.RUNNING, [PAUSE], "paused"),
        (APPLIED, Status.RUNNING, [RESUME, STEP], "resumed"),
        (APPLIED, Status.RUNNING, [STEP], "changed"),
        (DEFERRED, Status.RUNNING, [], "changed"),
        (APPLIED, None, [], "removed"),
        (Outcome.DENIED, Status.RUNNING, [], "denied"),
        (Outcome.DENIED, None, [], None),
        (DEFERRED, None, [], None),
        (Outcome.IGNORED, Status.RUNNING, [], None),
        (Outcome.UNCHANGED, Status.RUNNING, [], None),
    ],
)
def test_the_type_of_an_event(
    outcome: Outcome, status: Status | None, changes: list[Change], expected: str | None
) -> None:
    assert event_type(outcome, status, changes) == expected


def test_every_decision_has_a_type_or_none() -> None:
    changes = ([], [began()], [PAUSE], [STEP], [moved(Status.RUNNING, Status.ATTENTION)])
    found = {event_type(*each) for each in product(Outcome, (None, *Status), changes)}
    assert found <= {None, *EventType}


def decided(instance: str = "shop/A-1", message: Message | None = None, **more: object) -> HistoryRecord:
    made = HistoryRecord(
        instance=instance, revision=1, at_ms=0, outcome=APPLIED, status=Status.RUNNING, message=message, changes=(STEP,)
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields by name, as the caller gives them


def recorded(record: HistoryRecord, partition: int = 0, offset: int = 0) -> Record:
    out = encode_history("t.history", partition, record, id="0/1", request="r", source="/t/engine")
    return Record(out.topic, partition, offset, out.key, out.value, out.headers, 0)


SECRET = {"card": "4111-secret"}


@pytest.mark.parametrize(
    ("message", "more", "expected"),
    [
        (Act(id="r", instance="shop/A-1", act=ActName.PAUSE, by="ann", reason="stock"), {}, ("", "stock", "ann")),
        (
            Act(id="r", instance="shop/A-1", act=ActName.RETRY, by="ann", reason="why", value=SECRET),
            {"outcome": Outcome.DENIED, "code": ReasonCode.PAUSED, "reason": "it is paused"},
            ("paused", "it is paused", "ann"),
        ),
        (
            Rejected(id="r", instance="shop/A-1", command_id="c", reason="no", code="no-stock"),
            {},
            ("no-stock", "no", ""),
        ),
        (
            Failed(id="r", instance="shop/A-1", command_id="c", error="it broke", detail="4111-secret"),
            {},
            ("", "it broke", ""),
        ),
        (Start(id="r", definition="shop", key="A-1", input=SECRET), {"reason": "x" * 3_000}, ("", "x" * 2_000, "")),
        (None, {}, ("", "", "")),
    ],
)
def test_an_event_says_who_and_why_and_nothing_of_the_contents(
    message: Message | None, more: dict[str, object], expected: tuple[str, str, str]
) -> None:
    event = read_event(recorded(decided(message=message, **more)))
    assert event is not None
    assert (event.code, event.reason, event.by) == expected
    assert "secret" not in str(event_json(event, "t", "cursor"))


def test_what_does_not_concern_an_instance_is_no_event() -> None:
    assert read_event(recorded(decided("@mailbox/paid/O-1"))) is None


# The window


class Node:
    """A window that has read the partitions in an order of its own."""

    def __init__(self, logs: Sequence[Sequence[Record]], seed: int, **limits: int) -> None:
        self.window, chance = Window(**limits), random.Random(seed)
        self.window.keeps = True
        self.window.open({TopicPartition("t.history", number): 0 for number in range(len(logs))}, {})
        rest = [list(log) for log in logs]
        while any(rest):
            log = chance.choice([each for each in rest if each])
            count = chance.randint(1, 3)
            self.window.add(log[:count])
            del log[:count]

    def read(self, after: Positions, where: EventFilter = ALL, limit: int = 3) -> Iterator[FeedEvent]:
        more = True
        while more:
            page = self.window.page(after, where, limit)
            assert page is not None
            yield from page.events
            after, more = page.positions, page.more


def logs_of(seed: int, partitions: int = 3) -> list[list[Record]]:
    chance, logs = random.Random(seed), []
    for number in range(partitions):
        offset, log = 0, []
        for _ in range(chance.randint(0, 25)):
            offset += chance.randint(1, 3)  # markers of transactions, aborted records
            instance = chance.choice(["shop/A", "shop/B", "@lock/x", "bill/A"])
            outcome = chance.choice([APPLIED, APPLIED, Outcome.IGNORED])
            log.append(recorded(decided(f"{instance}-{number}", outcome=outcome), number, offset))
        logs.append(log)
    return logs


def places(events: Sequence[FeedEvent]) -> list[tuple[int, int]]:
    return [(each.event.partition, each.event.offset) for each in events]


@pytest.mark.parametrize("seed", range(20))
def test_a_cursor_of_one_node_continues_on_another_and_nothing_is_missed_or_repeated(seed: int) -> None:
    """Whatever the order in which the nodes have read, and after whichever event a reader changes its node."""
    logs = logs_of(seed)
    where = EventFilter(definitions={"shop"}) if seed % 2 else ALL
    one, other = Node(logs, seed), Node(logs, seed + 1_000)
    expected = [
        (number, event.offset)
        for number, log in enumerate(logs)
        for record in log
        if (event := read_event(record)) is not None and where.matches(event)
    ]
    found = list(one.read((), where))
    assert sorted(places(found)) == expected
    for number, each in enumerate(found):
        rest = list(other.read(each.positions, where))
        everything = places([*found[: number + 1], *rest])
        assert sorted(everything) == expected
        for partition in range(len(logs)):
            in_order = [offset for at, offset in everything if at == partition]
            assert in_order == sorted(in_order)
        if rest:
            assert sorted(places([*found[: number + 1], rest[0], *one.read(rest[0].positions, where)])) == expected


@pytest.mark.parametrize("limits", [{"events_max": 5}, {"bytes_max": 4_000}])
def test_the_window_is_bounded_and_says_what_it_no_longer_holds(limits: dict[str, int]) -> None:
    logs = [[recorded(decided(), 0, offset) for offset in range(40)]]
    window = Node(logs, 1, **limits).window
    assert 0 < len(window) <= 5
    first = 40 - len(window)
    assert window.page((first - 1,), ALL, 100) is None
    assert window.behind((first - 1,)) == {0: first - 1}
    page = window.page((first,), ALL, 100)
    assert page is not None
    assert places(page.events) == [(0, offset) for offset in range(first, 40)]


def test_without_a_reader_nothing_is_kept() -> None:
    window = Window()
    window.open({TopicPartition("t.history", 0): 0}, {})
    window.add([recorded(decided(), 0, 0)])
    assert (len(window), window.head) == (0, (1,))
    window.keeps = True
    assert window.page((0,), ALL, 10) is None
    window.add([recorded(decided(), 0, 1)])
    page = window.page((1,), ALL, 10)
    assert page is not None
    assert places(page.events) == [(0, 1)]


def test_records_that_the_log_no_longer_had_at_the_start_are_not_in_the_window() -> None:
    window, at = Window(), TopicPartition("t.history", 0)
    window.keeps = True
    window.open({at: 10}, {at: 50})
    window.add([recorded(decided(), 0, 30)])
    assert window.page((10,), ALL, 10) is None
    assert window.page((30,), ALL, 10) is not None


def test_records_that_are_read_again_are_no_new_events() -> None:
    logs = [[recorded(decided(), 0, offset) for offset in range(5)]]
    window = Node(logs, 1).window
    window.add(logs[0][2:4])
    page = window.page((0,), ALL, 10)
    assert page is not None
    assert (places(page.events), page.positions) == ([(0, offset) for offset in range(5)], (5,))


async def test_what_could_not_be_delivered_is_read_again(up: Stack) -> None:
    topic, seen, failed = "t-any", list[bytes | None](), list[int]()
    opened = asyncio.Event()
    await up.log.create_topics([TopicSpec(topic, 1, "delete")])

    def deliver(records: Sequence[Record]) -> None:
        if records and not failed:
            failed.append(len(records))
            raise ValueError("not yet")
        seen.extend(each.value for each in records)

    following = asyncio.create_task(follow(up.log, topic, deliver, lambda _: opened.set(), name="a test"))
    async with asyncio.timeout(20):
        await opened.wait()
        await up.log.append([Outgoing(topic, b"k", b"a"), Outgoing(topic, b"k", b"b")])
        while len(seen) < 2:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
    following.cancel()
    assert seen == [b"a", b"b"]


def test_a_status_of_a_newer_release_cannot_be_read() -> None:
    newer = Change(what="instance", before="hibernating", after="running")
    with pytest.raises(BadRecord, match="newer"):
        read_event(recorded(decided(changes=(newer,))))


def test_a_record_that_cannot_be_read_is_passed() -> None:
    window = Window()
    window.keeps = True
    window.open({TopicPartition("t.history", 0): 0}, {})
    window.add([recorded(decided())._replace(value=b"{"), recorded(decided(), 0, 1)])
    page = window.page((), ALL, 10)
    assert page is not None
    assert (places(page.events), page.positions) == ([(0, 1)], (2,))


async def test_only_waiters_whose_filter_matches_are_woken() -> None:
    window = Window()
    window.keeps = True
    window.open({TopicPartition("t.history", 0): 0}, {})
    ours, others = EventFilter(keys={"A-1"}), EventFilter(keys={"A-2"})
    waits = [asyncio.create_task(window.wait(where, 30)) for where in [ours] * 1_000 + [others] * 1_000]
    await asyncio.sleep(0)
    assert window.waiting_count == 2_000
    window.add([recorded(decided())])
    await asyncio.wait(waits[:1_000])
    assert not any(each.done() for each in waits[1_000:])
    window.stop()
    await asyncio.gather(*waits)
    assert window.waiting_count == 0


class Counted(EventFilter):
    """Counts how often it is asked."""

    looks = 0

    def matches(self, event: InstanceEvent) -> bool:
        Counted.looks += 1
        return super().matches(event)


@pytest.mark.parametrize(
    ("others", "ours"),
    [
        ({"instances": {"shop/A-2"}}, {"instances": {"shop/A-1", "shop/A-3"}}),
        ({"keys": {"A-2"}, "definitions": {"shop"}}, {"keys": {"A-1"}}),
        ({"definitions": {"other"}}, {"definitions": {"shop"}}),
        ({"types": {EventType.REMOVED}}, {"types": {*EventType}}),
        ({"types": {EventType.REMOVED}}, {"statuses": {*Status}}),
        ({"types": {EventType.REMOVED}}, {}),
    ],
)
async def test_an_event_does_not_look_at_those_who_wait_for_others(others: Any, ours: Any) -> None:
    window = Window()
    window.keeps = True
    window.open({TopicPartition("t.history", 0): 0}, {})
    Counted.looks = 0
    waits = [asyncio.create_task(window.wait(Counted(**others), 30)) for _ in range(500)]
    mine = asyncio.create_task(window.wait(Counted(**ours), 30))
    await asyncio.sleep(0)
    window.add([recorded(decided())])
    await mine
    assert (Counted.looks, window.waiting_count) == (1, 500)
    window.stop()
    await asyncio.gather(*waits)
    assert (window.waiting_count, window._waiters) == (0, {})


# Behind the window


@asynccontextmanager
async def another_node(up: Stack, window: Window | None = None, *, recent: int = 0) -> AsyncIterator[Client]:
    """A client with a feed of its own on the log and the read model of ``up``."""
    feed = Feed(up.log, up.topics, recent=recent)
    feed.window = window or feed.window
    async with running(feed.run()):
        yield Client(replace(up.parts, feed=feed))


async def read_all(client: Client, after: Positions, where: EventFilter = ALL) -> list[FeedEvent]:
    found: list[FeedEvent] = []
    more = True
    while more:
        page = await client.changes.read(after, where, limit=3)
        found += page.events
        after, more = page.positions, page.more
    return found


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as up:
        yield up


async def started(up: Stack, count: int) -> list[str]:
    keys = [f"A-{number}" for number in range(count)]
    await asyncio.gather(*(up.client.start("order-checkout", order(key), key=key) for key in keys))
    return keys


async def test_what_the_window_no_longer_holds_comes_from_the_read_model_in_the_same_order(up: Stack) -> None:
    begin = await up.client.changes.present()
    keys = await started(up, 20)
    await up.client.cancel("order-checkout/A-3")
    whole = await read_all(up.client, begin)
    for window, recent in ((Window(events_max=2), 0), (Window(events_max=2), 100), (None, 0), (None, 100), (None, 4)):
        async with another_node(up, window, recent=recent) as client:
            found = await read_all(client, begin)
            assert sorted(places(found)) == sorted(places(whole))
            assert sorted(each.event.key for each in found if each.event.type is EventType.STARTED) == sorted(keys)
            for partition in range(PARTITIONS):
                offsets = [offset for at, offset in places(found) if at == partition]
                assert offsets == sorted(offsets)
            middle = found[7].positions
            assert sorted(places(await read_all(client, middle))) == sorted(places(found[8:]))
            assert [each.event.key for each in await read_all(client, begin, EventFilter(keys={"A-7"}))] == ["A-7"]
            cursor = client.changes.cursor_of(middle)
            assert await up.client.changes.positions_of(cursor) == middle


async def test_a_reader_that_waits_behind_the_window_has_the_old_events_at_once_and_then_the_new(up: Stack) -> None:
    begin = await up.client.changes.present()
    await started(up, 5)
    async with another_node(up) as client:
        page = await client.changes.read(begin, ALL, wait=30)
        assert page.events
        last = await client.changes.present()
        waits = asyncio.create_task(client.changes.read(last, EventFilter(keys={"B-1"}), wait=30))
        await up.client.start("order-checkout", order("B-1"), key="B-1")
        assert [each.event.key for each in (await waits).events] == ["B-1"]


async def test_a_cursor_older_than_the_history_says_what_to_do(up: Stack) -> None:
    begin = await up.client.changes.present()
    await started(up, 5)
    await up.client.changes.present()
    rows = await up.read_model.decisions({TopicPartition(up.topics.history, 0): 0}, limit=100)
    oldest = rows.rows[0]
    with up.read_model._dialect.engine(10).begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM read_history WHERE part = 0 AND sequence = {oldest.offset}")
    async with another_node(up) as client:
        with pytest.raises(CursorTooOld, match="without a cursor"):
            await client.changes.read(begin)
        after = tuple(oldest.offset + 1 if number == 0 else at for number, at in enumerate(begin))
        assert await read_all(client, after)
        assert await client.changes.earliest() == after
    with up.read_model._dialect.engine(10).begin() as connection:
        connection.exec_driver_sql("DELETE FROM read_history WHERE part = 0")
    async with another_node(up) as client:
        with pytest.raises(CursorTooOld):
            await client.changes.read(after)


async def test_a_read_model_that_is_behind_is_waited_for_and_then_told(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False) as up:
        await up.read_model.standing()
        async with another_node(up, Window(events_max=1)) as client:
            begin = await client.changes.present()
            history = up.topics.history
            far = {TopicPartition(history, number): 1 << 40 for number in range(PARTITIONS)}
            client._parts.feed.window.open(far, {})
            client._parts.feed.window._floor = [1 << 40] * PARTITIONS
            with pytest.raises(TransientError, match="try again"):
                await client.changes.read(begin)
