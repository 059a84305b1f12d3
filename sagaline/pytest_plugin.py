"""The pytest plugin, found once Sagaline is installed: the fixture ``saga_world`` and the option ``--saga-seed``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from .orchestrator.testing.world import World
    from .sagas.definition import AnyDefinition

__all__ = ["MakeWorld", "pytest_addoption", "saga_world"]


class MakeWorld(Protocol):
    """Creates a ``World``; see there for its options. The default seed is ``--saga-seed``."""

    def __call__(self, *definitions: AnyDefinition, **options: Any) -> World: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option; a test with the same seed always runs the same way."""
    parser.getgroup("sagaline").addoption(
        "--saga-seed", type=int, default=0, metavar="N", help="seed of every world of the fixture saga_world"
    )


@pytest.fixture
def saga_world(pytestconfig: pytest.Config) -> Iterator[MakeWorld]:
    """Creates worlds that are closed when the test ends."""
    from .orchestrator.testing.world import World  # imported on use: every pytest run imports this module

    with ExitStack() as stack:

        def make(*definitions: AnyDefinition, **options: Any) -> World:
            options.setdefault("seed", pytestconfig.getoption("--saga-seed"))
            return stack.enter_context(World(*definitions, **options))

        yield make
