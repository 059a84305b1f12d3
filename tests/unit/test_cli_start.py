"""The first moments of ``saga``: it can be interrupted while it loads, and it writes to any terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.repo.tree import ROOT

INTERRUPTED = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sagaline.orchestrator.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from sagaline.orchestrator.cli import main
main()
"""
NOT_ASCII = """
import sys, types
app = types.ModuleType("sagaline.orchestrator.cli.app")
app.main = lambda: print("é € \\udc80")
sys.modules[app.__name__] = app
from sagaline.orchestrator.cli import main
main()
"""


def ran(code: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_interrupt_while_it_loads_leaves_one_line() -> None:
    done = ran(INTERRUPTED)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "saga: interrupted before it started\n"


@pytest.mark.slow
def test_the_package_itself_loads_nothing_before_it_is_used() -> None:
    """An interrupt could not be caught in what loads before the command does."""
    done = ran("import sagaline, sys; print('pydantic' in sys.modules); print(sagaline.Saga.__name__)")
    assert done.stdout.split() == ["False", "Saga"], done.stderr
    done = ran("import sagaline; sagaline.Nothing")
    assert "AttributeError: module 'sagaline' has no attribute 'Nothing'" in done.stderr


@pytest.mark.parametrize(
    ("encoding", "said"), [("ascii", "\\xe9 \\u20ac \\udc80"), ("cp1252", "\\udc80"), ("utf-8", "é € \\udc80")]
)
def test_what_the_terminal_cannot_show_is_written_as_an_escape(encoding: str, said: str) -> None:
    done = ran(NOT_ASCII.replace("é € ", "") if encoding == "cp1252" else NOT_ASCII, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr
