"""Clocks that contradict each other are told: once per occasion, and as long as there are signs of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.ports.log import Headers, Position, Record
from sagaline.orchestrator.runtime.clocks import CLOCK_TOLERANCE_MS, WatchedClock
from sagaline.orchestrator.runtime.metrics import Metrics
from tests.engine_world import HandClock, open_log, two_steps, world

HOUR_MS = 3_600_000
WORKER: Headers = (("ce_source", b"/test/workers/w"),)
ENGINE: Headers = (("ce_source", b"/test"),)


class BothHands:
    """A clock whose two sides a test moves."""

    def __init__(self) -> None:
        self.wall_ms, self.seconds = 1_700_000_000_000, 0.0

    def now_ms(self) -> int:
        return self.wall_ms + round(self.seconds * 1000)

    async def reach(self, at_ms: int) -> None:
        raise NotImplementedError("nobody waits for it here")

    def monotonic(self) -> float:
        return self.seconds

    def new_id(self) -> str:
        return "0" * 32


@pytest.fixture
def hands() -> BothHands:
    return BothHands()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock(hands: BothHands, metrics: Metrics) -> WatchedClock:
    return WatchedClock(hands, metrics, source="/test")


def written(at_ms: int, headers: Headers = WORKER) -> list[Record]:
    return [Record("test.inputs", 0, 0, b"a/1", b"{}", headers, at_ms)]


def reads(clock: WatchedClock, hands: BothHands, ages_ms: list[int], headers: Headers = WORKER) -> None:
    """Polls that give records of these ages, some seconds apart."""
    for age_ms in ages_ms:
        hands.seconds += 3.0
        clock.read(written(hands.now_ms() - age_ms, headers))


def test_a_clock_that_goes_on_says_nothing(clock: WatchedClock, hands: BothHands, metrics: Metrics) -> None:
    for _ in range(100):
        hands.seconds += 60.0
        hands.wall_ms += 1_000  # it drifts, and is kept right little by little
        clock.now_ms()
    clock.taken(0, Position(7, hands.now_ms() + CLOCK_TOLERANCE_MS))
    assert (clock.alarm, metrics.counts) == (None, {})


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
def test_a_wall_clock_that_is_moved_is_counted(
    clock: WatchedClock, hands: BothHands, metrics: Metrics, by_ms: int
) -> None:
    clock.now_ms()
    hands.wall_ms += by_ms
    clock.now_ms()
    clock.now_ms()
    assert metrics.counts == {"clock.moved": 1}


def test_a_last_decision_that_lies_ahead_is_an_alarm_for_a_while(
    clock: WatchedClock, hands: BothHands, metrics: Metrics
) -> None:
    clock.taken(3, Position(7, hands.now_ms() + HOUR_MS))
    clock.taken(4, Position(9, hands.now_ms() + HOUR_MS))
    assert "partition 4 is dated 3600 s later" in (clock.alarm or "")
    assert metrics.counts == {"clock.differs": 1}
    hands.seconds += 61.0
    assert clock.alarm is None


@pytest.mark.parametrize(("age_ms", "word"), [(HOUR_MS, "3600 s ahead"), (-HOUR_MS, "3600 s behind")])
def test_a_clock_far_from_all_that_write_is_an_alarm(
    clock: WatchedClock, hands: BothHands, metrics: Metrics, age_ms: int, word: str
) -> None:
    reads(clock, hands, [age_ms] * 4)
    assert clock.alarm is None
    reads(clock, hands, [age_ms] * 20)
    assert word in (clock.alarm or "")
    assert metrics.counts == {"clock.differs": 1}
    reads(clock, hands, [0] * 21)
    assert clock.alarm is None


def test_one_writer_with_a_wrong_clock_is_no_alarm(clock: WatchedClock, hands: BothHands, metrics: Metrics) -> None:
    reads(clock, hands, [0, HOUR_MS, -HOUR_MS, HOUR_MS] * 10)
    assert (clock.alarm, metrics.counts) == (None, {})


def test_what_comes_at_once_after_a_standstill_is_no_alarm(
    clock: WatchedClock, hands: BothHands, metrics: Metrics
) -> None:
    for _ in range(100):
        clock.read(written(hands.now_ms() - 20_000))
        hands.seconds += 0.01
    reads(clock, hands, [0] * 10)
    assert (clock.alarm, metrics.counts) == (None, {})


def test_what_engines_write_proves_nothing(clock: WatchedClock, hands: BothHands) -> None:
    reads(clock, hands, [0] * 20, ENGINE)
    reads(clock, hands, [HOUR_MS] * 5)
    assert clock.alarm is not None


async def test_an_engine_whose_log_was_written_ahead_of_its_clock_says_so(tmp_path: Path) -> None:
    """A predecessor's clock ran an hour ahead; its instance goes on, on time."""
    saga = two_steps()
    hand = HandClock(SystemClock().now_ms() + HOUR_MS)
    async with open_log(tmp_path / "log.db") as log:
        async with world(log, [saga], clock=hand) as before:
            instance = await before.start("A")
            await before.command(instance, "first")
        hand.at_ms -= HOUR_MS
        async with world(log, [saga], clock=hand) as after:
            await after.engine.processes(2)
            assert "3600 s later" in (after.engine.clock_alarm or "")
            assert after.metrics.counts["clock.differs"] == 1
