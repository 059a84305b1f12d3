"""The fixtures of tests marked ``kafka``, and the loud line when there is no broker for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from . import broker as brokers

__all__ = ["_elsewhere", "_own", "breakable_broker", "kafka_bootstrap", "pytest_terminal_summary"]

_REASON: list[str] = []


def _without_broker(error: brokers.NoBroker) -> None:
    """Skips; with CI=true fails: a build that tests less than it says must not be green."""
    _REASON[:] = [str(error)]
    if os.environ.get("CI") == "true":
        pytest.fail(f"tests on a real Kafka cannot run: {error}", pytrace=False)
    pytest.skip(f"no Kafka broker: {error}")


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
        _without_broker(_own)
    _own.thaw()
    _own.start()
    yield _own
    _own.thaw()
    _own.start()


@pytest.fixture(scope="session")
def _elsewhere(request: pytest.FixtureRequest) -> Iterator[str | brokers.NoBroker | None]:
    """The broker that the environment names, or one in a container; None: the one started here serves."""
    with ExitStack() as stack:
        try:
            address = brokers.given_broker()
            if address is None and isinstance(own := request.getfixturevalue("_own"), brokers.NoBroker):
                address = stack.enter_context(brokers.docker_broker(str(own)))
            found: str | brokers.NoBroker | None = address
        except brokers.NoBroker as error:
            found = error
        yield found


@pytest.fixture
def kafka_bootstrap(_elsewhere: str | brokers.NoBroker | None, request: pytest.FixtureRequest) -> str:
    """host:port of a real broker, shared by all tests of the session: use topic and group names of your own."""
    if isinstance(_elsewhere, brokers.NoBroker):
        _without_broker(_elsewhere)
    if isinstance(_elsewhere, str):
        return _elsewhere
    return str(request.getfixturevalue("breakable_broker").address)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for reason in _REASON:
        terminalreporter.write_sep("!", "TESTS ON A REAL KAFKA DID NOT RUN", red=True, bold=True)
        terminalreporter.write_line(f"{reason}")
        terminalreporter.write_line(
            "Install Java 17 or newer and Maven (Debian: apt-get install openjdk-17-jre-headless maven), "
            "or Docker, or set SAGALINE_TEST_KAFKA=host:port."
        )
