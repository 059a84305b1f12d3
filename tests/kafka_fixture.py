"""The fixtures of tests marked ``kafka``, and the loud line when there is no broker for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from . import broker as brokers

__all__ = ["_own", "_shared", "breakable_broker", "kafka_bootstrap", "pytest_terminal_summary", "without_broker"]

_MISSING = "no Kafka broker: "


def without_broker(error: brokers.NoBroker) -> None:
    """Skips; with CI=true fails: a build that tests less than it says must not be green."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{_MISSING}{error}", pytrace=False)
    pytest.skip(f"{_MISSING}{error}")


@pytest.fixture(scope="session")
def _own() -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(brokers.own_broker())
        except brokers.NoBroker as error:
            yield error


@pytest.fixture
def breakable_broker(_own: Any) -> Iterator[Any]:
    """A real broker that was started here, to be killed, frozen and started again; left running and thawed."""
    if isinstance(_own, brokers.NoBroker):
        without_broker(_own)
    _own.thaw()
    _own.start()
    yield _own
    _own.thaw()
    _own.start()


@pytest.fixture(scope="session")
def _shared() -> Iterator[str | brokers.NoBroker]:
    """Not the one that is killed: a node recovers every partition it has, and the contract suites leave hundreds."""
    with ExitStack() as stack:
        try:
            yield brokers.given_broker() or _started(stack)
        except brokers.NoBroker as error:
            yield error


def _started(stack: ExitStack) -> str:
    try:
        return str(stack.enter_context(brokers.own_broker()).address)
    except brokers.NoBroker as error:
        return stack.enter_context(brokers.docker_broker(str(error)))


@pytest.fixture
def kafka_bootstrap(_shared: str | brokers.NoBroker) -> str:
    """host:port of a real broker, shared by all tests of the session: use topic and group names of your own."""
    if isinstance(_shared, brokers.NoBroker):
        without_broker(_shared)
    assert isinstance(_shared, str)
    return _shared


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Read from the reports: the tests may have run in other processes than this one."""
    reports = [report for kind in ("skipped", "error") for report in terminalreporter.stats.get(kind, ())]
    said = [report.longrepr[2] if report.skipped else report.longreprtext for report in reports]
    for reason in sorted({text.partition(_MISSING)[2] for text in said if _MISSING in text}):
        terminalreporter.write_sep("!", "TESTS ON A REAL KAFKA DID NOT RUN", red=True, bold=True)
        terminalreporter.write_line(reason)
        terminalreporter.write_line(
            "Install Java 17 or newer and Maven (Debian: apt-get install openjdk-17-jre-headless maven), "
            "or Docker, or set SAGALINE_TEST_KAFKA=host:port."
        )
