"""One pytest that collects once and then, for each mutant, runs the tests that reach it in a fork of itself.

The first test that fails has killed the mutant and ends the fork. One that needs far more time or memory than the true
program is killed, too. What the parent has imported, built and cached before the first fork is the true program's.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import pytest

from tests.mutation.switch import switch

__all__ = ["Profile", "Session", "Verdict", "run_session"]

Verdict = str
"""``killed``, ``timeout``, ``survived``, or ``untested``: no test reaches it."""

WALL_S = 900
"""Only for what neither ends nor uses time: on a busy machine a mutant that survives takes minutes."""
CPU_S = 10
MEMORY_BYTES = 4 * 1024**3


class Named(Protocol):
    """A mutant, as far as a session must know it: what to switch on, and which lines of which file it changes."""

    @property
    def name(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def lines(self) -> tuple[int, int]: ...


@dataclass
class Profile:
    """What the true program does: how long each test takes, and which tests reach a line of a file."""

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def tests(self, mutant: Named) -> set[str]:
        """The tests that begin the statement which is changed."""
        lines = self.reached.get(mutant.file, {})
        first, last = mutant.lines
        return {test for line in range(first, last + 1) for test in lines.get(str(line), ())}

    def cost(self, mutant: Named) -> float:
        return sum(self.seconds[test] for test in self.tests(mutant))


@dataclass
class Session:
    """A pytest plugin that mutates instead of running the tests."""

    mutants: Sequence[Named]
    tell: Callable[[Named, Verdict], None]
    jobs: int = 1
    cpu_s: int = CPU_S
    failed: list[str] = field(default_factory=list)
    killers: dict[str, Counter[str]] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests cannot be collected")
        items = {item.nodeid: item for item in session.items if _decides(item)}
        profile = self._profiled(items)
        gc.freeze()
        self._judge(iter(sorted(self.mutants, key=profile.cost)), items, profile)
        gc.unfreeze()
        return True

    # -- in forks --------------------------------------------------------------------------------------------------

    def _profiled(self, items: dict[str, pytest.Item]) -> Profile:
        """Runs every test of the true program in a fork, and tells what it saw through a pipe."""
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                _in_fork(lambda: self._profile(items, pipe))
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        if not told:
            raise pytest.UsageError("the true program's tests came to no end")
        seen = json.loads(told)
        if seen["failed"]:
            raise pytest.UsageError(f"tests of the true program fail: {', '.join(seen['failed'])}")
        return Profile(seconds=seen["seconds"], reached=seen["reached"])

    def _profile(self, items: dict[str, pytest.Item], pipe: Any) -> bool:
        profile = Profile()
        with _traced({mutant.file for mutant in self.mutants}) as lines:
            for test in self._run(list(items.values())):
                profile.seconds[test.name] = test.seconds
                for file, line in lines:
                    profile.reached.setdefault(file, {}).setdefault(str(line), []).append(test.name)
                lines.clear()
        json.dump({"failed": self.failed, "seconds": profile.seconds, "reached": profile.reached}, pipe)
        pipe.flush()
        return True

    def _survives(self, mutant: Named, tests: Sequence[pytest.Item], pipe: int) -> bool:
        switch.mutant = mutant.name
        for test in self._run(tests):
            if self.failed:
                os.write(pipe, test.name.encode())
                return False
        return True

    def _run(self, items: Sequence[pytest.Item]) -> Iterator[_Ran]:
        for item, following in zip(items, [*items[1:], None], strict=True):
            begun = time.perf_counter()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            yield _Ran(item.nodeid, time.perf_counter() - begun)

    # -- in the parent ---------------------------------------------------------------------------------------------

    def _judge(self, waiting: Iterator[Named], items: dict[str, pytest.Item], profile: Profile) -> None:
        """At most ``jobs`` forks at a time; each ends by itself, by its limits, or after ``WALL_S`` by a signal."""
        running: dict[int, tuple[Named, int, float]] = {}
        more = True
        while more or running:
            while more and len(running) < self.jobs:
                mutant = next(waiting, None)
                if mutant is None:
                    more = False
                elif not (tests := self._in_order(mutant, profile)):
                    self.tell(mutant, "untested")
                else:
                    limit_s = int(self.cpu_s + 10 * profile.cost(mutant))
                    pid, reader = self._forked(mutant, [items[test] for test in tests], limit_s)
                    running[pid] = (mutant, reader, time.monotonic() + WALL_S)
            for pid in list(running):
                mutant, reader, until = running[pid]
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del running[pid]
                    self._heard(mutant, reader, status)
                elif time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
            if running:
                time.sleep(0.005)

    def _in_order(self, mutant: Named, profile: Profile) -> list[str]:
        """First what killed other mutants of the file, then the quick ones."""
        killers = self.killers.get(mutant.file, Counter())
        return sorted(profile.tests(mutant), key=lambda test: (-killers[test], profile.seconds[test]))

    def _forked(self, mutant: Named, tests: Sequence[pytest.Item], limit_s: int) -> tuple[int, int]:
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            _in_fork(lambda: self._survives(mutant, tests, writer))
        os.close(writer)
        return pid, reader

    def _heard(self, mutant: Named, reader: int, status: int) -> None:
        with os.fdopen(reader) as pipe:
            killer = pipe.read()
        if killer:
            self.killers.setdefault(mutant.file, Counter())[killer] += 1
        if os.WIFSIGNALED(status):
            self.tell(mutant, "timeout")
        else:
            self.tell(mutant, "killed" if os.WEXITSTATUS(status) else "survived")


@dataclass(frozen=True)
class _Ran:
    name: str
    seconds: float


@contextmanager
def _traced(names: Collection[str]) -> Iterator[set[tuple[str, int]]]:
    """The lines of these files, below the working folder, that are begun meanwhile, in any thread."""
    files = {os.path.abspath(name): name for name in names}
    lines: set[tuple[str, int]] = set()

    def on_call(frame: FrameType, event: str, argument: object) -> Any:
        if (name := files.get(frame.f_code.co_filename)) is None:
            return None

        def on_line(frame: FrameType, event: str, argument: object) -> Any:
            lines.add((name, frame.f_lineno))
            return on_line

        return on_line(frame, event, argument)

    threading.settrace(on_call)
    sys.settrace(on_call)
    try:
        yield lines
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # documented to take it


def _decides(item: pytest.Item) -> bool:
    """Tests that await something stay out: with a wrong kernel they wait, until a deadline, for what never comes."""
    return isinstance(item, pytest.Function) and not inspect.iscoroutinefunction(item.function)


def _in_fork(work: Callable[[], bool]) -> None:
    """Does the work of a fork and ends it, silently: 0 when the work is true, 1 otherwise."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 0 if work() else 1
    finally:
        os._exit(code)


def run_session(session: Session, arguments: Sequence[str]) -> int:
    """Runs pytest with this plugin; the folder that it runs in must be the first on the path."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # of the tests' own report nothing is wanted
    quiet = ["-p", "no:cacheprovider", "--assert=plain", "--tb=no", "--timeout=0"]
    return int(pytest.main([*quiet, *arguments], plugins=[session]))
