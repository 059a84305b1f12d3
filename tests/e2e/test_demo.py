"""``saga demo`` as a stranger runs it: in a process of its own, twice at once, killed in the middle, on a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from tests.unit.cli_kit import logs_restored

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(180)]

DEMO = [sys.executable, "-m", "sagaline.orchestrator.cli", "demo"]
PASSED = "Check passed: every charge was made once and shipped or refunded, nothing was done twice."


def environment() -> dict[str, str]:
    """Ours without any setting of Sagaline's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SAGALINE_", "OTEL_"))}


def demo(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*DEMO, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class Started:
    """A demo that runs beside the test, with what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.running = subprocess.Popen(
            [*DEMO, *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""

    def read_to(self, text: str) -> None:
        assert self.running.stdout is not None
        for line in self.running.stdout:
            self.printed += line
            if text in line:
                return
        raise AssertionError(f"it never printed {text!r}:\n{self.printed}")

    def end(self) -> None:
        self.running.kill()
        self.running.communicate()


def test_the_demo_shows_every_trouble_and_passes_its_own_check(tmp_path: Path) -> None:
    printed = demo(tmp_path, "--port", "0").stdout
    assert "20 orders: 8 compensated, 12 completed" in printed
    assert re.search(r"a worker crashed [1-9]\d* times and was restarted", printed)
    assert PASSED in printed
    for undo in ("book/undo/1", "charge/undo/1", "reserve/undo/1", "reserve: undo_sent → undone"):
        assert undo in printed, "the trail of one order that was undone"
    tree = printed[printed.index("Its trace") :]
    for span in ("decide Start", "handle reserve-stock", "decide TimerFired", "handle refund-card", "→ compensated"):
        assert span in tree, "the trace of the same order"
    assert tree.index("POST /v1/sagas/{definition}") < tree.index("decide Start") < tree.index("handle reserve-stock")
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == [], "nothing is left in the current folder"


def test_its_books_stay_beside_a_named_file_and_agree_with_the_report(tmp_path: Path) -> None:
    demo(tmp_path, "--orders", "10", "--port", "0", "--log", "sqlite:///shop.db")
    with closing(sqlite3.connect(tmp_path / "shop-ledger.db")) as books:
        charged, once = books.execute("SELECT count(*), count(DISTINCT effect_key) FROM charges").fetchone()
        [shipped] = books.execute("SELECT count(*) FROM shipments").fetchone()
        [refunded] = books.execute("SELECT count(*) FROM refunds").fetchone()
    assert charged == once == shipped + refunded == 7


def test_all_of_it_shows_the_patterns_beyond_the_checkout(tmp_path: Path) -> None:
    printed = demo(tmp_path, "--all", "--orders", "0", "--port", "0").stdout
    assert "order of ann: reserved, charged, shipped" in printed
    assert "order of declined-dora: reserved, released" in printed
    tree = printed[printed.index("\ntrace ") :]
    assert tree.index("handle order-placed") < tree.index("handle goods-reserved") < tree.index("handle card-charged")
    assert re.search(r"-tea was delivered \d+ ms after its time", printed)
    assert re.search(
        r"-lamp is parked with 3 messages \(ConnectionError: the price list is locked\); \S+ has passed", printed
    )
    assert "-lamp was delivered in order: 100, 200, 300" in printed
    assert len(re.findall(r"demo-tick/demo-\w{4}-\S+Z: started", printed)) >= 2
    assert re.search(r"demo-\w{4} is paused: [2-9]\d* started, 0 denied, 0 missed", printed)
    assert "Check passed: every pattern did what it promises." in printed


def refused(*arguments: str, code: int) -> str:
    """What a demo says that does not even begin."""
    ours = {name: None for name in os.environ if name not in environment()}
    with logs_restored():
        done = CliRunner().invoke(app, ["demo", *arguments], env=ours)
    assert done.exit_code == code, done.output
    return done.stderr


@pytest.mark.kafka
def test_the_same_demo_on_kafka_says_which_namespace_it_made(kafka_bootstrap: str, tmp_path: Path) -> None:
    printed = demo(tmp_path, "--orders", "10", "--port", "0", "--log", f"kafka://{kafka_bootstrap}").stdout
    assert re.search(rf"log kafka://{kafka_bootstrap}, namespace demo-[0-9a-f]{{8}},", printed)
    assert "10 orders: 4 compensated, 6 completed" in printed
    assert PASSED in printed
    assert list(tmp_path.iterdir()) == []


def test_a_second_demo_on_the_same_file_is_told_who_is_there(tmp_path: Path) -> None:
    first = Started(tmp_path, "--log", "sqlite:///shop.db", "--orders", "5")
    try:
        first.read_to("API http")
        first.running.send_signal(signal.SIGSTOP)  # else it may end before the second has begun
        refused = demo(tmp_path, "--log", "sqlite:///shop.db", "--orders", "1", code=1)
        first.running.send_signal(signal.SIGCONT)
        assert f"another demo (process {first.running.pid}) runs on sqlite:///shop.db; stop it" in refused.stderr
        assert refused.stderr.count("\n") == 1
        first.read_to(PASSED)
        assert first.running.wait(20) == 0
    finally:
        first.end()


def test_where_the_usual_port_is_taken_the_next_free_one_is_taken_and_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pytest.skip("another program listens on port 8080, and may end while the demo starts")
        printed = demo(tmp_path, "--orders", "1").stdout
    assert re.search(r"API http://127\.0\.0\.1:80\d\d \(port 8080 is taken\)", printed)


def test_a_port_that_was_asked_for_and_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused("--port", str(taken.getsockname()[1]), code=1)
    assert "is taken; stop the program that listens there, or choose another port" in said


def test_a_demo_killed_in_the_middle_is_finished_by_the_next(tmp_path: Path) -> None:
    """Orders that the killed one had accepted reach their ends, each charged once; the crash fell where it fell."""
    log = ("--log", "sqlite:///shop.db")
    first = Started(tmp_path, *log, "--orders", "20", "--port", "0")
    try:
        first.read_to("API http")
        until = threading.Event()
        for _ in range(1_000):
            if _charges(tmp_path / "shop-ledger.db") >= 3:
                break
            until.wait(0.01)
    finally:
        first.end()
    assert 3 <= _charges(tmp_path / "shop-ledger.db") < 20
    second = demo(tmp_path, *log, "--orders", "0", "--port", "0").stdout
    assert PASSED in second
    left = re.search(r"(\d+) orders exist from earlier runs", second)
    assert left is not None
    assert f"{left.group(1)} orders: " in second


def _charges(ledger: Path) -> int:
    try:
        with closing(sqlite3.connect(ledger, timeout=1.0)) as books:
            return int(books.execute("SELECT count(*) FROM charges").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_demo_that_cannot_finish_in_time_says_so_and_fails(tmp_path: Path) -> None:
    """The silent carrier alone takes three seconds."""
    failed = demo(tmp_path, "--port", "0", "--orders", "3", "--timeout", "2", code=1)
    assert re.search(r"after 2 s \d orders have not ended, for example order-checkout/\w+-03-silent", failed.stderr)


def test_interrupted_before_its_end_it_stops_in_order(tmp_path: Path) -> None:
    started = Started(tmp_path, "--log", "sqlite:///shop.db", "--orders", "20", "--port", "0")
    try:
        started.read_to("API http")
        started.running.send_signal(signal.SIGTERM)
        started.read_to("saga: stopping; press Ctrl-C again to stop at once")
        assert started.running.wait(30) == 0
    finally:
        started.end()


def test_asked_to_stay_it_serves_the_dashboard_after_its_report(tmp_path: Path) -> None:
    started = Started(tmp_path, "--log", "sqlite:///shop.db", "--orders", "1", "--port", "0", "--stay")
    try:
        started.read_to("Still serving")
        address = re.findall(r"Dashboard (http\S+)", started.printed)[0]
        assert httpx.get(address).status_code == 200
        started.running.send_signal(signal.SIGINT)
        assert started.running.wait(30) == 0
        assert PASSED in started.printed
    finally:
        started.end()


def test_on_a_terminal_it_shows_a_live_table_until_it_is_interrupted(tmp_path: Path) -> None:
    """The report follows the Ctrl-C."""
    printed = _interrupted(tmp_path, 8)
    assert "Ctrl-C ends" in printed
    assert PASSED in printed, printed[-3_000:]


def test_interrupted_on_a_terminal_before_the_end_it_gives_no_verdict(tmp_path: Path) -> None:
    printed = _interrupted(tmp_path, 1)
    assert "Interrupted before all orders had ended: nothing was checked." in printed, printed[-3_000:]
    assert "Check passed" not in printed


def _interrupted(folder: Path, compensated: int) -> str:
    """What a demo prints on a terminal that gets its Ctrl-C once so many orders are compensated in its table."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [*DEMO, "--port", "0"],
        cwd=folder,
        env=environment() | {"TERM": "xterm", "COLUMNS": "150", "LINES": "45"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    printed, interrupted = "", False
    try:
        with suppress(OSError):  # the other end is closed: the demo has ended
            while chunk := os.read(ours, 65_536):
                printed += chunk.decode(errors="replace")
                table = printed.rpartition("planned")[2]
                if not interrupted and table.count("compensated") >= compensated:
                    interrupted = True
                    running.send_signal(signal.SIGINT)
        assert interrupted, printed[-3_000:]
        assert running.wait(20) == 0
    finally:
        running.kill()
        running.wait()
        os.close(ours)
    return printed
