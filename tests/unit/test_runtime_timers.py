"""The timer index."""

from __future__ import annotations

from collections.abc import Mapping

from sagaline.orchestrator.runtime.timers import DueTimer, TimerIndex

MINUTE = 60_000


class Partition:
    """Documents that have nothing but timers, and the index over them."""

    def __init__(self) -> None:
        self.timers: dict[bytes, Mapping[str, int]] = {}
        self.looks = 0
        self.index = TimerIndex(self._look)

    def set(self, key: bytes, timers: Mapping[str, int]) -> None:
        """As a commit does: the document, then the index."""
        self.timers[key] = timers
        self.index.replace(key, timers)

    def fire(self, now_ms: int, max_count: int = 10) -> list[DueTimer]:
        """As a processor does: until nothing more is due."""
        found: list[DueTimer] = []
        while (next_ms := self.index.next_due_ms()) is not None and next_ms <= now_ms:
            found += self.index.due(now_ms, max_count)
        return found

    def _look(self, key: bytes) -> Mapping[str, int]:
        self.looks += 1
        return self.timers.get(key, {})


def test_timers_come_out_in_order_of_their_due_time() -> None:
    part = Partition()
    part.set(b"a", {"x": 30, "y": 10})
    part.set(b"b", {"x": 20})
    assert part.index.due(30, 10) == [DueTimer(10, "a", "y"), DueTimer(20, "b", "x"), DueTimer(30, "a", "x")]


def test_no_timer_comes_out_before_its_time() -> None:
    for due_ms in (30, MINUTE - 1, MINUTE, 3 * MINUTE, 100_000 * MINUTE + 7):
        part = Partition()
        part.set(b"a", {"x": due_ms})
        assert part.index.due(due_ms - 1, 10) == []
        assert part.index.next_due_ms() == due_ms
        assert part.index.due(due_ms, 10) == [DueTimer(due_ms, "a", "x")]


def test_a_timer_comes_out_once() -> None:
    for due_ms in (30, 5 * MINUTE):
        part = Partition()
        part.set(b"a", {"x": due_ms})
        assert len(part.fire(due_ms)) == 1
        assert part.fire(due_ms + 10 * MINUTE) == []


def test_a_replaced_timer_does_not_come_out() -> None:
    for now_ms in (0, 100 * MINUTE):
        part = Partition()
        part.index.due(now_ms, 1)
        part.set(b"a", {"x": now_ms + 10})
        part.set(b"a", {"x": now_ms + 9 * MINUTE})
        assert part.fire(now_ms + 30) == []
        part.set(b"a", {})
        assert part.fire(now_ms + 99 * MINUTE) == []
        assert part.index.next_due_ms() is None


def test_timers_of_the_next_minutes_are_told_early_again_after_each_change_and_still_fire() -> None:
    part = Partition()
    part.index = TimerIndex(part._look, early=lambda instance: instance != "c")
    part.index.due(0, 1)
    part.set(b"a", {"x": 30})
    part.set(b"b", {"x": 20, "y": 9 * MINUTE})
    part.set(b"c", {"x": 10})
    assert part.index.soon(1) == [DueTimer(20, "b", "x")]
    part.set(b"b", {"x": 40})
    assert part.index.soon(9) == [DueTimer(30, "a", "x"), DueTimer(40, "b", "x")]
    part.set(b"a", {"x": 30})
    part.set(b"b", {})
    assert part.index.soon(9) == [DueTimer(30, "a", "x")]
    assert part.fire(40) == [DueTimer(10, "c", "x"), DueTimer(30, "a", "x")]


def test_later_timers_are_told_early_once_their_minute_is_near() -> None:
    part = Partition()
    part.index = TimerIndex(part._look, early=lambda _: True)
    part.set(b"a", {"x": 5 * MINUTE})
    part.index.due(3 * MINUTE, 9)
    assert part.index.soon(9) == []
    assert part.index.next_due_ms() == 4 * MINUTE
    part.index.due(4 * MINUTE, 9)
    assert part.index.soon(9) == [DueTimer(5 * MINUTE, "a", "x")]


def test_a_timer_set_again_to_the_same_time_comes_out_once() -> None:
    for due_ms in (10, 5 * MINUTE):
        part = Partition()
        part.set(b"a", {"x": due_ms})
        part.set(b"a", {})
        part.set(b"a", {"x": due_ms})
        assert part.fire(due_ms) == [DueTimer(due_ms, "a", "x")]


def test_a_timer_that_was_handed_out_and_is_set_again_comes_out_again() -> None:
    part = Partition()
    part.set(b"a", {"x": 10})
    assert len(part.fire(10)) == 1
    part.set(b"a", {"x": 10})
    assert len(part.fire(10)) == 1


def test_near_and_far_timers_of_one_instance_all_come_out() -> None:
    part = Partition()
    part.set(b"a", {"near": 10, "far": 90 * MINUTE, "farther": 90 * MINUTE + 1, "last": 500 * MINUTE})
    assert [timer.timer for timer in part.fire(10)] == ["near"]
    part.set(b"a", {"far": 90 * MINUTE, "farther": 90 * MINUTE + 1, "last": 500 * MINUTE})
    assert [timer.timer for timer in part.fire(91 * MINUTE)] == ["far", "farther"]
    assert [timer.timer for timer in part.fire(500 * MINUTE)] == ["last"]


def test_no_more_than_asked_come_out_and_the_rest_stays() -> None:
    part = Partition()
    part.set(b"a", {str(n): n for n in range(10)})
    assert [timer.due_ms for timer in part.index.due(100, 4)] == [0, 1, 2, 3]
    assert [timer.due_ms for timer in part.index.due(100, 100)] == [4, 5, 6, 7, 8, 9]


def test_whatever_was_due_long_ago_comes_out_a_bounded_number_at_a_time() -> None:
    """After an outage everything is due at once: the event loop gets its turn between."""
    part = Partition()
    for number in range(5_000):
        part.set(b"%d" % number, {"x": MINUTE + number})
    assert part.index.due(MINUTE * 2, 10) != []
    assert part.looks == 1_000
    assert len(part.fire(MINUTE * 2, 500)) == 4_990


def test_a_document_that_changes_often_is_noted_once() -> None:
    part = Partition()
    for _ in range(1_000):
        part.set(b"a", {"deadline": 70_000 * MINUTE})
    assert len(part.fire(70_000 * MINUTE)) == 1
    assert part.looks == 1
