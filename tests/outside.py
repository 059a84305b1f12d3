"""Tests that need something from outside the project, and the loud lines when it is not there."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from .kafka_fixture import pytest_terminal_summary as kafka_summary
from .long import long_summary

__all__ = ["fetched", "not_run", "pytest_terminal_summary"]

_MARK = "needs what is not here: "


def not_run(reason: str) -> NoReturn:
    """Skips the test, and says so at the end of the run."""
    pytest.skip(f"{_MARK}{reason}")


def fetched(command: Sequence[str], folder: Path) -> str:
    """Runs what needs a package registry and returns what it prints; without it the test is skipped."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        not_run(f"`{' '.join(command)}`: {error}")
    if done.returncode:
        not_run(f"`{' '.join(command)}` failed: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Read from the reports: the tests may have run in other processes than this one."""
    kafka_summary(terminalreporter)
    long_summary(terminalreporter)
    said = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.skipped]
    for reason in sorted({text.partition(_MARK)[2] for text in said if _MARK in text}):
        terminalreporter.write_sep("!", "A TEST DID NOT RUN", red=True, bold=True)
        terminalreporter.write_line(f"it {_MARK}{reason}")
