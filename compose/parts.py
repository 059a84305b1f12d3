"""A process in the background: its data folder, its log and its pid file. Not safe for concurrent use.

- The pid file names the process and when it began: another process that got the same number later is not believed,
  and never ended.
- A folder holds one process. ``output.log`` takes what it writes, over all its starts.
- Standard library only; Linux and macOS.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Part", "PartError", "check_free", "free_port", "latest", "start_parts", "stop_parts"]

_STARTED = "--- started"


class PartError(Exception):
    """A part cannot be started or stopped; the message says what to do."""


class Part:
    """One process; a subclass says how it is started and when it is ready."""

    stop_signal = signal.SIGTERM

    def __init__(self, name: str, data: Path, ports: Sequence[int] = ()) -> None:
        self.name, self.data, self.ports = name, data, tuple(ports)
        self.log = data / "output.log"
        self._child: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Makes what the process needs; may take seconds."""

    def launch(self) -> None:
        """Starts the process by ``spawn`` and returns at once."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it can be used now. Returns within seconds."""
        raise NotImplementedError

    def health(self) -> str:
        """A few words for people."""
        if self.pid is None:
            return "stopped"
        return "ready" if self.ready() else "not ready"

    @property
    def pid(self) -> int | None:
        """The running process's id, or None; a pid file that a crash left behind counts for nothing."""
        try:
            pid, began = (self.data / "pid").read_text().split("\n", 1)
            return int(pid) if began and began == _began(int(pid)) else None
        except (OSError, ValueError):
            return None

    def start(self, wait: float = 60.0) -> None:
        """Starts the process and returns when it is ready, within ``wait`` seconds; 0: does not wait."""
        start_parts([self], wait)

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        """Runs the command in the background, in its data folder."""
        with self.log.open("ab") as log:
            log.write(f"{_STARTED} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.data,
                env=environment,
                user=user,
            )
        (self.data / "pid").write_text(f"{self._child.pid}\n{_began(self._child.pid) or ''}")

    def wait_ready(self, wait: float = 60.0) -> None:
        """Returns when it is ready.

        Raises:
            PartError: it ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + wait
        while not self.ready():
            if self.pid is None:
                code = "" if self._child is None else f" (exit {self._child.wait(5)})"
                raise PartError(f"{self.name} ended while starting{code}; its log ends with:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise PartError(
                    f"{self.name} was not ready within {wait:.0f} s; its log, {self.log}, ends with:\n"
                    f"{self.last_lines()}"
                )
            time.sleep(0.05)

    def stop(self, wait: float = 20.0) -> bool:
        """Ends the process; after ``wait`` seconds with SIGKILL. False when none was running."""
        return bool(stop_parts([self], wait))

    def kill(self) -> None:
        """kill -9, and waits until the process is gone. The data stay."""
        self.signal(signal.SIGKILL)
        self.gone(10)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Sends it to the process, if that runs."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def gone(self, wait: float) -> bool:
        """Waits until the process has ended; False when it still runs after ``wait`` seconds."""
        deadline = time.monotonic() + wait
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        if self._child is not None:
            self._child.wait(5)
        return True

    def said(self) -> str:
        """What the process wrote since it was last started."""
        try:
            return latest(self.log.read_text(errors="replace"))
        except OSError:
            return ""

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, without the frames of Java's stack traces."""
        telling = [line for line in self.said().splitlines() if not line.startswith("\tat ")]
        return "\n".join(f"    {line[:300]}" for line in telling[-count:]) or "    (nothing)"


def latest(log: str) -> str:
    """Of a log, what was written since the last start."""
    return log.rpartition(_STARTED)[2].partition("\n")[2]


def start_parts(parts: Sequence[Part], wait: float = 60.0) -> None:
    """Starts those that do not run, all at once, and returns when all are ready; with ``wait`` 0 it does not wait.

    Raises:
        PartError: a port is taken, or a part did not become ready. Those that run are left running.
    """
    resting = [part for part in parts if part.pid is None]
    for part in resting:
        for port in part.ports:
            check_free(port)
    deadline = time.monotonic() + wait
    for part in resting:
        part.data.mkdir(parents=True, exist_ok=True)
        part.prepare()
        part.launch()
    for part in parts if wait else ():
        part.wait_ready(max(1.0, deadline - time.monotonic()))


def stop_parts(parts: Sequence[Part], wait: float = 20.0) -> list[Part]:
    """Ends those that run, all at once, and returns them. After ``wait`` seconds SIGKILL ends what is left."""
    running = [part for part in parts if part.pid is not None]
    deadline = time.monotonic() + wait
    for part in running:
        part.thaw()
        part.signal(part.stop_signal)
    for part in running:
        if not part.gone(max(0.0, deadline - time.monotonic())):
            part.kill()
        (part.data / "pid").unlink(missing_ok=True)
    return running


def free_port(count: int = 2) -> int:
    """A port that is free now together with the ones above it, so many in all. Below those that the system hands out by
    itself (32,768 and up on Linux): it may give one of them to somebody else before it is used here.
    """
    for _ in range(100):
        first = random.randint(20_000, 32_000 - count)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise PartError(f"no {count} free neighbouring ports were found on 127.0.0.1")


def check_free(port: int) -> None:
    """Raises PartError when nobody can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise PartError(
                f"port {port} cannot be used ({error}): stop the program that listens there, or choose others by --port"
            ) from None


def _began(pid: int) -> str | None:
    """When a running process began, as the system writes it; None when there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self").exists():
            return None
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10)
    found = re.match(r"\s*([^Z\s]\S*)\s+(.+)", shown.stdout)
    return found.group(2).strip() if found else None
