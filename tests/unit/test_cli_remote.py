"""Commands that speak to the API, against a real process that ``saga run`` has put together; and how that one stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from sagaline.workers.examples.ledger import Ledger

pytestmark = pytest.mark.slow

CHECKOUT = "sagaline.sagas.examples.order_checkout:checkout"
WORKERS = "sagaline.workers.examples.order_checkout:order_workers()"
SAGA = [sys.executable, "-m", "sagaline.orchestrator.cli"]
ALL_IN_ONE = [*SAGA, "run", CHECKOUT, "--worker", WORKERS, "--api", "--port", "0"]
HOLDING = """
from datetime import timedelta

from sagaline.sagas import Saga, pivot
from sagaline.sagas.examples.order_checkout import Checkout, book, charge, reserve, ship
from sagaline.sagas.nodes import choose, sleep, when

held = when(lambda s: s.order.id.endswith("-held"), sleep("hour", timedelta(hours=1)))
flow = [reserve, charge, choose(held, otherwise=None, name="held"), book, pivot, ship]
checkout = Saga("order-checkout", Checkout, version=1, flow=flow)
"""
"""The checkout, which holds an order whose id ends in ``-held`` after its charge: no act on it hurries."""
ORDER = {"id": "A-1", "customer": "ann", "lines": [{"sku": "teapot", "quantity": 1}], "total_cents": 4200}


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting of Sagaline's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SAGALINE_", "OTEL_"))} | more


class Process:
    """A long-running process and what it says on stderr."""

    def __init__(self, folder: Path, command: list[str], **variables: str) -> None:
        self._errors = folder / "stderr.txt"
        with self._errors.open("w") as errors:
            self.running = subprocess.Popen(command, cwd=folder, stderr=errors, env=environment(**variables))

    @property
    def said(self) -> str:
        return self._errors.read_text()

    def wait_for(self, pattern: str) -> str:
        """The first group of the first match in what it says."""
        for _ in range(300):
            if match := re.search(pattern, self.said):
                return match.group(1)
            try:
                self.running.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(f"it never said {pattern}:\n{self.said}")

    def end(self) -> None:
        self.running.kill()
        self.running.wait()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Engine, workers and API in one process, with a token."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "holding.py").write_text(HOLDING)
    process = Process(
        folder,
        [*SAGA, "run", "holding:checkout", "--worker", WORKERS, "--api", "--port", "0"],
        SAGALINE_API_TOKENS='["a-token-for-tests-only"]',
    )
    try:
        process.wait_for(r"answering at (http\S+);")
        yield process
    finally:
        process.end()


def saga(shop: Process, *arguments: str, code: int = 0, token: str = "a-token-for-tests-only") -> str:
    """What a command prints: stdout when it is to succeed, else stderr."""
    url = shop.wait_for(r"answering at (http\S+);")
    done = CliRunner().invoke(app, list(arguments), env={"SAGALINE_URL": url, "SAGALINE_API_TOKEN": token})
    assert done.exit_code == code, done.output
    return done.stderr if code else done.stdout


def start(shop: Process, key: str, *, id: str = "", **fields: Any) -> str:
    body = {"order": {**ORDER, "id": id or key, **fields}}
    return saga(shop, "start", "order-checkout", "--key", key, "--input", json.dumps(body))


def settled(shop: Process, instance: str) -> dict[str, Any]:
    """The instance once it has ended."""
    for _ in range(100):
        found: dict[str, Any] = json.loads(saga(shop, "show", instance, "--json"))
        if found["finished_at"]:
            return found
        with suppress(subprocess.TimeoutExpired):
            shop.running.wait(0.1)
    raise AssertionError(f"{instance} does not end: {found}")


def test_an_order_is_started_shown_and_listed(shop: Process) -> None:
    assert "order-checkout/A-1 started: running  (trace " in start(shop, "A-1")
    document = settled(shop, "order-checkout/A-1")
    assert document["status"] == "completed"
    shown = saga(shop, "show", "order-checkout/A-1")
    for part in ("completed", document["trace_id"], "reserve", "release-stock", "end of retention", "pivot"):
        assert part in shown
    drawn = saga(shop, "trace", "order-checkout/A-1")
    assert drawn.startswith("order-checkout/A-1  completed  ")
    for part in (document["trace_id"], "reserve", "charge", "at workers"):
        assert part in drawn
    listed = json.loads(saga(shop, "list", "--key", "A-1", "--json"))["instances"]
    assert [each["id"] for each in listed] == ["order-checkout/A-1"]
    assert "order-checkout/A-1" in saga(shop, "list", "--status", "completed")
    assert saga(shop, "list", "--status", "attention") == "no instances match\n"
    ann = ("--where", "customer=ann", "--where", "total_cents>=1", "--no-overdue")
    assert "order-checkout/A-1" in saga(shop, "list", *ann, "--status", "completed", "--sort=-key")
    assert saga(shop, "list", "--where", "customer=nobody", "--count") == "0\n"
    assert saga(shop, "operations", "--who", "nobody") == "no operations match\n"
    assert json.loads(saga(shop, "list", "--key", "A-1", "--count", "--json")) == {"count": 1, "exact": True}


def test_the_same_start_again_changes_nothing_and_another_input_is_refused(shop: Process) -> None:
    start(shop, "A-2")
    assert "exists already, with the same input" in start(shop, "A-2")
    other = json.dumps({"order": {**ORDER, "id": "A-2", "total_cents": 1}})
    refusal = saga(shop, "start", "order-checkout", "--key", "A-2", "--input", other, code=1)
    assert refusal.count("\n") == 1
    assert "was started with another input; choose another key" in refusal


def test_history_tells_why_an_order_was_undone(shop: Process) -> None:
    start(shop, "A-3", customer="declined-dora")
    assert settled(shop, "order-checkout/A-3")["status"] == "compensated"
    told = saga(shop, "history", "order-checkout/A-3")
    assert "rejection of charge/1: the bank declined the card" in told
    decisions = json.loads(saga(shop, "history", "order-checkout/A-3", "--json"))["decisions"]
    assert [each["revision"] for each in decisions] == list(range(1, len(decisions) + 1))
    first_two = json.loads(saga(shop, "history", "order-checkout/A-3", "--json", "--limit", "2"))["decisions"]
    assert first_two == decisions[:2]


def test_an_order_is_paused_resumed_and_cancelled(shop: Process) -> None:
    start(shop, "A-4", id="A-4-held")
    assert "is paused" in saga(shop, "pause", "order-checkout/A-4")
    assert "is unchanged: that was done before" in saga(shop, "pause", "order-checkout/A-4")
    assert "continues" in saga(shop, "resume", "order-checkout/A-4")
    assert "retry of 'order-checkout/A-4' was denied" in saga(shop, "retry", "order-checkout/A-4", code=1)
    changed = json.loads(saga(shop, "cancel", "order-checkout/A-4", "--reason", "withdrawn", "--json"))
    assert changed["changed"] is True
    document = settled(shop, "order-checkout/A-4")
    assert document["status"] == "compensated"
    assert document["cause"]["message"] == "cancelled by administrator: withdrawn"
    assert "cancel by administrator: withdrawn" in saga(shop, "history", "order-checkout/A-4")


def test_an_act_depends_on_the_revision_that_was_seen(shop: Process) -> None:
    start(shop, "A-9", id="A-9-held")
    assert "is paused" in saga(shop, "pause", "order-checkout/A-9")
    now = json.loads(saga(shop, "show", "order-checkout/A-9", "--json"))["revision"]
    late = saga(shop, "resume", "order-checkout/A-9", "--expected-revision", str(now - 1), code=1)
    assert f"order-checkout/A-9 is at revision {now} now, not at {now - 1}: look at it again" in late
    assert "continues" in saga(shop, "resume", "order-checkout/A-9", "--expected-revision", str(now))


def test_an_order_is_edited_and_forked(shop: Process) -> None:
    start(shop, "A-5", id="A-5-held")
    patch = json.dumps([{"op": "replace", "path": "/order/total_cents", "value": 7}])
    assert "has its state edited: running" in saga(shop, "edit", "order-checkout/A-5", "--patch", patch)
    assert "is unchanged: that was done before" in saga(shop, "edit", "order-checkout/A-5", "--patch", patch)
    wrong = json.dumps([{"op": "remove", "path": "/order"}])
    refusal = saga(shop, "edit", "order-checkout/A-5", "--patch", wrong, code=1)
    assert "the state would not fit Checkout: order: the field is missing, add it" in refusal
    assert "does not need attention" in saga(shop, "edit", "order-checkout/A-5", "--patch", patch, "--retry", code=1)
    document = json.loads(saga(shop, "show", "order-checkout/A-5", "--json"))
    assert document["state"]["order"]["total_cents"] == 7
    start(shop, "A-6")
    settled(shop, "order-checkout/A-6")
    forked = saga(shop, "fork", "order-checkout/A-6", "ship", "--key", "A-6b", "--patch", patch)
    assert forked == "order-checkout/A-6 is forked; the new instance was requested: completed\n"
    for _ in range(100):  # the origin's decision is told, the fork's own comes after it
        if json.loads(saga(shop, "list", "--key", "A-6b", "--json"))["instances"]:
            break
        with suppress(subprocess.TimeoutExpired):
            shop.running.wait(0.1)
    document = settled(shop, "order-checkout/A-6b")
    assert (document["status"], document["forked_from"]) == ("completed", "order-checkout/A-6")
    assert "from order-checkout/A-6" in saga(shop, "show", "order-checkout/A-6b")
    assert "fork: new → order-checkout/A-6b" in saga(shop, "history", "order-checkout/A-6")
    case = saga(shop, "inspect", "order-checkout/A-6")
    assert "on step ship: fork" in case
    for command in (["restart", "order-checkout/A-6", "ship"], ["replace-undo", "order-checkout/A-6", "ship"]):
        more = ["--command", "{}"] if command[0] == "replace-undo" else []
        assert "is completed and can no longer change" in saga(shop, *command, *more, code=1)


def test_many_orders_are_paused_at_once(shop: Process) -> None:
    """First it is told what would become of it; a bulk that is gone on with asks nobody twice."""
    for number in range(3):
        start(shop, f"C-{number}", id=f"C-{number}-held")
    which = ("--definition", "order-checkout", "--status", "running")
    told = saga(shop, "bulk", "pause", *which)
    assert "would be done" in told
    assert "dry run: nothing was sent; send it with --apply" in told
    assert not json.loads(saga(shop, "show", "order-checkout/C-1", "--json"))["paused"]
    done = json.loads(saga(shop, "bulk", "pause", *which, "--id", "night-1", "--apply", "--json"))
    assert (done["id"], done["dry_run"]) == ("night-1", False)
    asked = {each["instance"]: each["fate"] for each in done["asked"]}
    assert [asked[f"order-checkout/C-{number}"] for number in range(3)] == ["done"] * 3
    saga(shop, "resume", "order-checkout/C-1")
    again = json.loads(saga(shop, "bulk", "pause", *which, "--id", "night-1", "--apply", "--json"))
    assert {each["fate"] for each in again["asked"]} == {"unchanged"}
    assert "resume of" in saga(shop, "bulk", "resume", *which, "--apply")
    refused = saga(shop, "bulk", "retry", *which, "--apply", code=1)
    assert "were denied or have failed; resolve the cause, then continue with --id" in refused
    assert saga(shop, "bulk", "retry", *which, "--older-than", "1d") == "no instances match; nothing to retry\n"


def test_a_key_with_a_slash_is_one_key(shop: Process) -> None:
    start(shop, "2026/07/A b")
    assert settled(shop, "order-checkout/2026/07/A b")["key"] == "2026/07/A b"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "order-checkout/none"], "there is no instance 'order-checkout/none'"),
        (["start", "nothing"], "there is no definition 'nothing'; deployed are: order-checkout"),
        (["start", "order-checkout"], "input.order: the field is missing, add it"),
        (["cancel", "order-checkout/none"], "there is no instance"),
        (["list", "--key", "a\nb"], "control character"),
        (["bulk", "cancel"], "the bulk selects no instances; give a definition, status, age or step"),
        (["bulk", "fork", "--step", "ship"], "fork needs a key for each instance; send it to each instance"),
        (["fork", "order-checkout/none", "ship", "--key", "a\nb"], "control character"),
    ],
)
def test_a_refusal_of_the_api_is_one_sentence(shop: Process, arguments: list[str], part: str) -> None:
    said = saga(shop, *arguments, code=1)
    assert said.count("\n") == 1
    assert part in said


def test_a_token_is_asked_for_by_the_name_of_its_variable(shop: Process) -> None:
    assert "requires a bearer token" in saga(shop, "list", code=1, token="")
    assert "does not know the given token" in saga(shop, "list", code=1, token="wrong")
    assert "SAGALINE_API_TOKEN" in saga(shop, "list", code=1, token="")


@pytest.mark.long
def test_parts_in_processes_of_their_own_share_one_file_and_a_dead_worker_is_started_again(tmp_path: Path) -> None:
    """The worker's process ends with exit code 1 in the middle of a charge; the next one charges the card, once."""
    folders = {name: tmp_path / name for name in ("engine", "api", "first", "second")}
    for folder in folders.values():
        folder.mkdir()
    log = {"SAGALINE_LOG": f"sqlite:///{tmp_path}/shop.db"}
    (tmp_path / "shop.py").write_text(
        "from sagaline.workers.examples.order_checkout import order_workers\n"
        f"workers = order_workers({str(tmp_path / 'ledger.db')!r})\n"
    )
    worker = [*SAGA, "worker", "shop:workers"]
    processes = [
        Process(folders["engine"], [*SAGA, "run", CHECKOUT], **log),
        Process(folders["api"], [*SAGA, "api", CHECKOUT, "--port", "0"], **log),
        Process(folders["first"], worker, PYTHONPATH=str(tmp_path), **log),
    ]
    engine, api, first = processes
    try:
        engine.wait_for("(deciding for order-checkout)")
        first.wait_for("(working as inventory on inventory)")
        start(api, "B-1", customer="crash-carl")
        assert first.running.wait(20) == 1
        last = first.said.splitlines()[-1]
        assert last.startswith("saga: worker 'payment' was ended by its handler of 'charge-card' (SystemExit)")
        processes.append(Process(folders["second"], worker, PYTHONPATH=str(tmp_path), **log))
        assert settled(api, "order-checkout/B-1")["status"] == "completed"
        assert Ledger(tmp_path / "ledger.db").orders()["B-1"].charges == 1
        for process in reversed(processes):
            process.running.terminate()
            assert process.running.wait(20) == (1 if process is first else 0), process.said
    finally:
        for process in processes:
            process.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_every_part_in_order_and_is_a_success(number: int, tmp_path: Path) -> None:
    process = Process(tmp_path, ALL_IN_ONE)
    try:
        process.wait_for(r"(answering at) http")
        process.running.send_signal(number)
        assert process.running.wait(20) == 0
        assert "saga: stopping; press Ctrl-C again to stop at once" in process.said
        assert process.said.count('"event": "worker.stopped"') == 3
    finally:
        process.end()


def test_the_second_signal_ends_a_process_whose_parts_do_not_stop(tmp_path: Path) -> None:
    """Even one that blocks the event loop."""
    (tmp_path / "stuck.py").write_text(
        "from sagaline.orchestrator.cli.processes import run_process\n"
        "import asyncio, sys\n"
        "async def body():\n"
        "    try:\n"
        "        print('running now', file=sys.stderr, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        print('stuck now', file=sys.stderr, flush=True)\n"
        "        import time; time.sleep(60)\n"
        "run_process(body())\n"
    )
    process = Process(tmp_path, [sys.executable, "stuck.py"])
    try:
        process.wait_for("(running) now")
        process.running.send_signal(signal.SIGTERM)
        process.wait_for("(stuck) now")
        process.running.send_signal(signal.SIGTERM)
        assert process.running.wait(10) == 128 + signal.SIGTERM
    finally:
        process.end()


def test_a_process_may_open_as_many_files_as_it_may_ask_for(tmp_path: Path) -> None:
    (tmp_path / "files.py").write_text(
        "from sagaline.orchestrator.cli.processes import run_process\n"
        "import asyncio, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 3_000))\n"
        "async def body():\n"
        "    print('limits', *resource.getrlimit(resource.RLIMIT_NOFILE), file=sys.stderr, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "run_process(body())\n"
    )
    process = Process(tmp_path, [sys.executable, "files.py"])
    try:
        assert process.wait_for("limits (.*)") == "3000 3000"
    finally:
        process.end()


def test_two_signals_that_come_while_the_event_loop_is_busy_end_a_process_too(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "from sagaline.orchestrator.cli.processes import run_process\n"
        "import asyncio, sys, time\n"
        "async def body():\n"
        "    try:\n"
        "        print('busy now', file=sys.stderr, flush=True)\n"
        "        time.sleep(1)\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        time.sleep(60)\n"
        "run_process(body())\n"
    )
    process = Process(tmp_path, [sys.executable, "busy.py"])
    try:
        process.wait_for("(busy) now")
        process.running.send_signal(signal.SIGINT)
        process.running.send_signal(signal.SIGTERM)
        assert process.running.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    finally:
        process.end()
