"""How fast a partition comes back, and what an idle instance costs in memory: after restart, and after creating.

    python bench/restore.py --log kafka --bootstrap 127.0.0.1:9092 --documents 300000
    python bench/restore.py --log kafka --bootstrap 127.0.0.1:9092 --documents 100000 --create

The documents are instances of a one-step saga that wait for their worker until a timer of thirty days; each order has
people, texts, ids and amounts of its own. They are written by one process and restored by another, or made by an
engine out of starts (``--create``). Memory is what the process grew by, over the bytes of all documents. Processor
time is that of the measured process, whatever else the machine does. One JSON line on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parent))

from flows import QUEUE, Done
from parts import environment
from pydantic import BaseModel, JsonValue

from sagaline.orchestrator.codec.documents import encode_document
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.kernel import Registry, decide
from sagaline.orchestrator.messages.inputs import Arrival, JsonObject, Start
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Batch, Owner, Position
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, engine, open_base, prepare_topics, running, tune_interpreter
from sagaline.sagas import Contract, Saga, step

BATCH = 500


class Line(BaseModel):
    sku: str
    quantity: int
    cents: int


class Order(BaseModel):
    customer: str
    mail: str
    lines: list[Line]
    note: str


class Ask(BaseModel):
    mail: str
    lines: list[Line]


class State(BaseModel):
    order: Order
    done: Done | None = None


@step(Contract("pack-order", Ask, Done, queue=QUEUE), into="done", timeout=timedelta(days=30))
def idle(s: State) -> Ask:
    return Ask(mail=s.order.mail, lines=s.order.lines)


saga = Saga("idle", State, flow=[idle])


def order(number: int) -> JsonObject:
    """An order that resembles no other: the same for the same number."""
    draw = random.Random(number)
    name, words = _text(draw, 2), draw.randint(2, 12)
    lines: list[JsonValue] = [
        {"sku": f"{draw.getrandbits(40):x}", "quantity": draw.randint(1, 9), "cents": draw.randint(99, 99_999)}
        for _ in range(draw.randint(1, 4))
    ]
    return {
        "customer": name,
        "mail": f"{name.replace(' ', '.')}@example.com",
        "lines": lines,
        "note": _text(draw, words),
    }


def _text(draw: random.Random, words: int) -> str:
    return " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(words))


def start(number: int) -> Start:
    key = f"A-{number:08}"
    return Start(
        id=f"{random.Random(number).getrandbits(128):032x}",
        definition=saga.name,
        key=key,
        input={"order": order(number)},
    )


def document(number: int, now_ms: int) -> tuple[bytes, bytes]:
    decided = decide(saga, None, Arrival(message=start(number), now_ms=now_ms)).document
    assert decided is not None
    return decided.id.encode(), encode_document(decided)


async def fill(base: Base, count: int) -> dict[str, object]:
    """Writes the documents through the log port, each on its partition; tells their bytes."""
    membership = await base.log.join(base.topics.inputs, base.topics.state, f"{base.settings.namespace}.engine")
    while not await membership.changed():
        pass
    partitions, size, now_ms = base.settings.partitions, 0, base.clock.now_ms()
    owners: list[Owner] = [await membership.take(partition) for partition in range(partitions)]
    for begin in range(0, count, BATCH):
        shares: list[dict[bytes, bytes | None]] = [{} for _ in owners]
        for number in range(begin, min(count, begin + BATCH)):
            key, value = document(number, now_ms)
            shares[partition_of(key, partitions)][key] = value
            size += len(value)
        for owner, share in zip(owners, shares, strict=True):
            if share:
                await owner.commit(Batch(share, [], Position(0, now_ms)))
    for owner in owners:
        await owner.release()
    await membership.leave()
    return {"documents": count, "json_bytes": size // count}


async def restored(base: Base, count: int) -> dict[str, object]:
    """Starts an engine on them."""
    before, lag = resident_bytes(), Lag()
    part, begin, cpu = engine(base, Registry([saga])), perf_counter(), process_time()
    async with running(part.run(), "engine"), running(lag.run(), "lag"):
        await part.processes(1)
        seconds, cpu = perf_counter() - begin, process_time() - cpu
        tune_interpreter()
        await asyncio.sleep(2.0)
        grown = resident_bytes() - before
    return {
        "restore_s": round(seconds, 2),
        "documents_per_s": round(count / seconds),
        "documents_per_processor_s": round(count / cpu),
        "longest_stall_ms": round(lag.longest * 1000),
        "bytes_each": grown // count,
    }


async def created(base: Base, count: int) -> dict[str, object]:
    """Lets an engine make them out of starts."""
    part = engine(base, Registry([saga]))
    async with running(part.run(), "engine"):
        await part.processes(1)
        tune_interpreter()
        before, begin = resident_bytes(), perf_counter()
        for first in range(0, count, BATCH):
            some = range(first, min(count, first + BATCH))
            now_ms = base.clock.now_ms()
            await base.log.append(
                [encode_request(base.topics.inputs, start(n), source="/b", now_ms=now_ms) for n in some]
            )
            await decided(base, first - 4 * BATCH)
        await decided(base, count)
        seconds = perf_counter() - begin
        await asyncio.sleep(2.0)
        grown = resident_bytes() - before
    return {"created_per_s": round(count / seconds), "bytes_each": grown // count}


async def decided(base: Base, count: int) -> None:
    while base.metrics.counts["decisions"] < count:  # noqa: ASYNC110  # counts tell nobody
        await asyncio.sleep(0.01)


class Lag:
    """The longest time that something else held the event loop: beyond the session's, heartbeats are missed."""

    longest = 0.0

    async def run(self) -> None:
        while True:
            begin = perf_counter()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, perf_counter() - begin - 0.01)


def resident_bytes() -> int:
    """Of this process; read from Linux's /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


PHASES: dict[str, Callable[[Base, int], Awaitable[dict[str, object]]]] = {
    "fill": fill,
    "restored": restored,
    "created": created,
}


async def phase(name: str, settings: Settings, count: int) -> None:
    async with open_base(settings) as base:
        await prepare_topics(base, [QUEUE])
        print(json.dumps(await PHASES[name](base, count)), flush=True)


async def in_process(name: str, settings: Settings, count: int) -> dict[str, object]:
    """A phase in a process of its own, so that none sees the memory of another."""
    command = [sys.executable, str(Path(__file__)), "--phase", name, "--documents", str(count)]
    child = await asyncio.create_subprocess_exec(*command, env=environment(settings), stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    assert child.returncode == 0, f"{name} failed, see above"
    found: dict[str, object] = json.loads(said.splitlines()[-1])
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--create", action="store_true", help="by an engine out of starts, instead of a restart")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        await phase(options.phase, Settings(), options.documents)
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        settings = Settings(
            log=f"kafka://{options.bootstrap}" if options.log == "kafka" else f"sqlite:///{folder}/restore.db",
            namespace=f"r-{os.getpid()}",
            partitions=1,
            development=True,
        )
        row: dict[str, object] = {"log": options.log}
        for name in ["created"] if options.create else ["fill", "restored"]:
            row |= await in_process(name, settings, options.documents)
        row.setdefault("documents", options.documents)
        row.setdefault("json_bytes", sum(len(document(n, 1_700_000_000_000)[1]) for n in range(1_000)) // 1_000)
        row["memory_to_json"] = round(float(str(row["bytes_each"])) / float(str(row["json_bytes"])), 2)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
