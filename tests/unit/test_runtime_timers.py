"""The timer index."""

from __future__ import annotations

from sagaline.orchestrator.runtime.timers import DueTimer, TimerIndex


def test_timers_come_out_in_order_of_their_due_time() -> None:
    index = TimerIndex()
    index.replace("a", {"x": 30, "y": 10})
    index.replace("b", {"x": 20})
    assert index.next_due_ms() == 10
    assert index.due(30, 10) == [DueTimer(10, "a", "y"), DueTimer(20, "b", "x"), DueTimer(30, "a", "x")]


def test_no_timer_comes_out_before_its_time() -> None:
    index = TimerIndex()
    index.replace("a", {"x": 30})
    assert index.due(29, 10) == []
    assert index.due(30, 10) == [DueTimer(30, "a", "x")]


def test_a_timer_comes_out_once() -> None:
    index = TimerIndex()
    index.replace("a", {"x": 30})
    assert len(index.due(30, 10)) == 1
    assert index.due(30, 10) == []


def test_a_replaced_timer_does_not_come_out() -> None:
    index = TimerIndex()
    index.replace("a", {"x": 10})
    index.replace("a", {"x": 40})
    assert index.next_due_ms() == 40
    assert index.due(30, 10) == []
    index.replace("a", {})
    assert index.next_due_ms() is None
    assert len(index) == 0


def test_a_timer_set_again_to_the_same_time_comes_out_once() -> None:
    index = TimerIndex()
    index.replace("a", {"x": 10})
    index.replace("a", {})
    index.replace("a", {"x": 10})
    assert index.due(10, 10) == [DueTimer(10, "a", "x")]


def test_no_more_than_asked_come_out_and_the_rest_stays() -> None:
    index = TimerIndex()
    index.replace("a", {str(n): n for n in range(10)})
    assert [timer.due_ms for timer in index.due(100, 4)] == [0, 1, 2, 3]
    assert [timer.due_ms for timer in index.due(100, 100)] == [4, 5, 6, 7, 8, 9]
