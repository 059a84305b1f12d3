"""``saga dev``: everything in one process, started again when a file changes; and the small commands beside it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.terminal import visible

from .test_cli_remote import SAGA, Process

SHOP = """
from pydantic import BaseModel
from sagaline import Contract, Saga, step
from sagaline.sagas import Event, pivot
from sagaline.sagas.nodes import expect, wait
from sagaline.workers import Context, Worker
from datetime import timedelta

class Pack(BaseModel):
    item: str

class Packed(BaseModel):
    parcel: str

class Paid(BaseModel):
    cents: int

class Order(BaseModel):
    item: str
    packed: Packed | None = None
    paid: Paid | None = None

pack_it = Contract("pack", Pack, Packed, queue="packing")
order_paid = Event("order-paid", Paid, keep=timedelta(hours=1))

@step(pack_it, into="packed", timeout=timedelta(minutes=5))
def pack(o: Order) -> Pack:
    return Pack(item=o.item)

paid = wait(expect(order_paid, key=lambda o: o.item, into="paid"), timeout=timedelta(hours=1), name="payment")
order = Saga("order", Order, flow=[paid, pivot, pack])
worker = Worker("packer")
everybody = [worker]

@worker.handles(pack_it)
async def handle(command: Pack, ctx: Context) -> Packed:
    return Packed(parcel="first")
"""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "shop.py").write_text(SHOP)
    process = Process(tmp_path, [*SAGA, "dev", "shop", "--port", "0"])
    try:
        yield process
    finally:
        process.running.send_signal(signal.SIGTERM)
        process.running.wait(60)


def address(dev: Process, times: int) -> str:
    """Where the API answers after so many starts."""
    dev.wait_for(r"(?s)" + r"answering at (http\S+);.*" * times)
    return re.findall(r"answering at (http\S+);", dev.said)[times - 1]


def state_of(url: str, key: str) -> str:
    """What is printed once the order is completed."""
    for _ in range(100):
        said = CliRunner().invoke(app, ["show", f"order/{key}", "--state", "--url", url]).output
        if "completed" in said:
            return said
        time.sleep(0.1)
    raise AssertionError(said)


def order(url: str, key: str) -> None:
    start = ["start", "order", "--key", key, "--input", f'{{"item": "{key}"}}', "--url", url]
    assert CliRunner().invoke(app, start).exit_code == 0
    publish = ["publish", "order-paid", "--key", key, "--body", '{"cents": 5}', "--id", f"paid-{key}", "--url", url]
    said = CliRunner().invoke(app, publish)
    assert (said.exit_code, said.output) == (0, f"order-paid for {key} is published: id paid-{key}\n")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.long
def test_a_changed_file_starts_everything_again_and_a_broken_one_waits_for_its_repair(
    dev: Process, tmp_path: Path
) -> None:
    """An order that was placed before is still there."""
    first = address(dev, 1)
    order(first, "a")
    assert '"parcel": "first"' in state_of(first, "a")
    (tmp_path / "shop.py").write_text("this is no Python\n")
    dev.wait_for(r"(shop\.py) changed, starting again")
    dev.wait_for(r"(it has ended); it starts again when a file changes")
    (tmp_path / "shop.py").write_text(SHOP.replace("first", "second"))
    second = address(dev, 2)
    order(second, "b")
    assert '"parcel": "second"' in state_of(second, "b")
    assert '"parcel": "first"' in state_of(second, "a")
    assert httpx.get(f"{second}/livez").status_code == 200


MAILER = """
import sys

from pydantic import BaseModel
from sagaline.sagas import Event
from sagaline.workers import Worker

class Shipped(BaseModel):
    order: str

mailer = Worker("mailer")

@mailer.subscribes(Event("shipped", Shipped))
async def mail(event: Shipped) -> None:
    print("mailed", event.order, file=sys.stderr, flush=True)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_module_with_only_a_worker_gets_an_engine_for_events(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MAILER)
    (tmp_path / "go.py").write_text(
        "import asyncio\n"
        "from shop import Shipped\n"
        "from sagaline.client import Producer\n"
        "from sagaline.orchestrator.settings import Settings\n"
        "from sagaline.sagas import Event\n"
        "async def main():\n"
        "    async with Producer(Settings()) as producer:\n"
        "        await producer.publish(Event('shipped', Shipped), key='k', body=Shipped(order='A-1'))\n"
        "asyncio.run(main())\n"
    )
    process = Process(tmp_path, [*SAGA, "dev", "shop", "--port", "0", "--no-reload"])
    try:
        process.wait_for(r"(deciding for events and parcels, no saga); working as mailer on shipped")
        subprocess.run([sys.executable, "go.py"], cwd=tmp_path, check=True, timeout=60)
        process.wait_for(r"(mailed A-1)")
    finally:
        process.running.send_signal(signal.SIGTERM)
        process.running.wait(60)


def test_without_a_saga_or_worker_it_says_what_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cli_dev_empty.py").write_text("number = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    said = CliRunner().invoke(app, ["dev", "cli_dev_empty", "--no-reload"])
    assert said.exit_code == 2
    assert "there is no saga and no worker in cli_dev_empty; name a module that has one, or MODULE:NAME" in said.output


def test_the_version_is_that_of_the_package() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output.startswith("saga ")) == (0, True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x07\x9b", "\\x07\\x9b"),
        ("a\u202eb", "a\\u202eb"),
        ("two\nlines\tand é", "two\nlines\tand é"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
