"""A process that is told to stop has one bound, whatever its parts wait for: handlers, a dead collector, the loop."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .test_readme import PATIENCE_SECONDS, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GRACE_SECONDS = 2.0
SHOP = f"""
import asyncio
from datetime import timedelta
from pydantic import BaseModel
from sagaline.sagas import Contract, Saga, step
from sagaline.workers import Context, Worker

class Go(BaseModel):
    number: int

class Gone(BaseModel):
    number: int

class State(BaseModel):
    number: int
    gone: Gone | None = None

contracts = [Contract(f"go-{{n}}", Go, Gone, queue=f"queue-{{n}}") for n in range(4)]

def flow(number):
    @step(contracts[number], into="gone", timeout=timedelta(minutes=5))
    def go(state: State) -> Go:
        return Go(number=number)
    return Saga(f"flow-{{number}}", State, version=1, flow=[go])

def working(number):
    worker = Worker(f"worker-{{number}}", grace=timedelta(seconds={GRACE_SECONDS}))
    @worker.handles(contracts[number])
    async def hang(command: Go, context: Context) -> Gone:
        print(f"hanging {{number}}", flush=True)
        await asyncio.sleep(60)
        return Gone(number=number)
    return worker

flows = [flow(number) for number in range(4)]
workers = [working(number) for number in range(4)]
"""


@contextmanager
def black_hole() -> Iterator[str]:
    """A collector that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()


def stop_seconds(folder: Path, **env: str) -> float:
    """How long a process with engine, API and four workers takes to stop while each worker's handler hangs."""
    (folder / "shop.py").write_text(SHOP)
    said = folder / "said"
    settings = environment(SAGALINE_PORT="0", **env)
    with said.open("wb") as output:
        command = ["saga", "run", "shop:flows", "--worker", "shop:workers", "--api"]
        process = subprocess.Popen(command, cwd=folder, env=settings, stdout=output, stderr=output)

    def wait_for(text: str, count: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while said.read_text().count(text) < count:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)

    try:
        wait_for("Ctrl-C stops it")
        address = next(word for word in said.read_text().split() if word.startswith("http://127")).rstrip(";")
        for number in range(4):
            body = {"key": "A", "input": {"number": number}}
            httpx.post(f"{address}/v1/sagas/flow-{number}", json=body).raise_for_status()
        wait_for("hanging", 4)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, said.read_text()
        return time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_workers_of_one_process_stop_together(tmp_path: Path) -> None:
    assert stop_seconds(tmp_path) < 2 * GRACE_SECONDS + 2


def test_a_dead_collector_does_not_hold_a_process_back(tmp_path: Path) -> None:
    with black_hole() as endpoint:
        assert stop_seconds(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) < 2 * GRACE_SECONDS + 4


def test_a_process_whose_parts_do_not_stop_is_gone_at_the_bound(tmp_path: Path) -> None:
    """Also when the event loop itself is stuck."""
    (tmp_path / "stuck.py").write_text(
        "import asyncio, sys, time\n"
        "from sagaline.orchestrator.cli import processes\n"
        "processes.STOP_SECONDS = 0.5\n"
        "async def body():\n"
        "    try:\n"
        "        print('running', file=sys.stderr, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        time.sleep(60)\n"
        "processes.run_process(body(), grace_seconds=0.5)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "stuck.py"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as said:
        assert said.readline() == "running\n"
        process.terminate()
        assert process.wait(20) == 1
        assert "within 1 s" in said.read()
