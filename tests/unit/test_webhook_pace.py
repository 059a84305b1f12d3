"""How fast receivers are sent to, by a clock that the test sets."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.workers.webhooks.pace import NotSent, Pace


class HandClock(SystemClock):
    """Its durations are what the test says."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def pace(clock: HandClock) -> Pace:
    return Pace(clock, 12)


def send(pace: Pace, receiver: str = "a", name: str = "host") -> None:
    with pace.slot(receiver, name):
        """It is sent."""


def test_the_longer_wait_that_was_asked_for_holds(pace: Pace, clock: HandClock) -> None:
    pace.wait("a", 600)
    pace.wait("a", 1)
    clock.now += 599
    with pytest.raises(NotSent, match="left alone"):
        send(pace)
    clock.now += 1
    send(pace)


def test_nobody_waits_for_longer_than_six_hours(pace: Pace, clock: HandClock) -> None:
    pace.wait("a", 1e9)
    clock.now += 6 * 3600
    send(pace)


def test_a_receiver_that_was_changed_has_asked_for_nothing(pace: Pace) -> None:
    """It may be at another address, and is another one here."""
    pace.wait("a at one address", 600)
    send(pace, "a at another address")
    pace.keep({"a at another address"}, {"host"})
    send(pace, "a at one address")


def test_a_slow_name_is_given_eight_requests_and_all_together_a_share(pace: Pace, clock: HandClock) -> None:
    with ExitStack() as held:
        for name, most in (("one", 8), ("two", 4)):
            with pace.slot("a", name):
                clock.now += 2
            for _ in range(most):
                held.enter_context(pace.slot("a", name))
            with pytest.raises(NotSent, match="is slow"):
                send(pace, name=name)
        send(pace, name="another")
    send(pace, name="one")


def test_nothing_is_remembered_of_receivers_that_are_gone(pace: Pace, clock: HandClock) -> None:
    for number in range(100):
        with pace.slot(number, f"host-{number}"):
            clock.now += 2
        pace.wait(number, 600)
    pace.keep({7}, {"host-7"})
    assert (pace._slow, set(pace._asked_to_wait), pace._at_work) == ({"host-7"}, {7}, {})
