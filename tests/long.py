"""Tests marked ``long`` kill processes, wait for outages to end, build other languages or repeat one story many times.

They are most of the time of a run and rarely say what another test does not, so a run of everything leaves them out,
and says so; a build (CI=true) runs them, and so does a run that names files, ``-k`` or ``-m``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

__all__ = ["long_summary", "pytest_collection_modifyitems", "pytest_configure"]

_LEFT_OUT = "SAGALINE_TESTS_LEAVE_OUT_LONG"


def pytest_configure(config: pytest.Config) -> None:
    """Decided where the run was started: the processes that share its tests are given other arguments."""
    if not hasattr(config, "workerinput"):
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        everything = not (named or config.option.keyword or config.option.markexpr)
        os.environ[_LEFT_OUT] = str(int(everything and os.environ.get("CI") != "true"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(_LEFT_OUT) == "1":
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)


def long_summary(terminalreporter: Any) -> None:
    if os.environ.get(_LEFT_OUT) == "1":
        terminalreporter.write_line("the long tests were left out: `CI=true make test` runs them too")
