"""How long a process takes to stop, and how long starts wait when an engine dies or stops and another takes over.

    python bench/handover.py stop --bootstrap 127.0.0.1:9092
    python bench/handover.py takeover --bootstrap 127.0.0.1:9092 --documents 10000

``stop``: SIGTERM to exit of ``saga api``, ``saga worker`` (three workers) and ``saga run``, idle and with flows under
way, without a collector, with one whose port is closed, and with one that accepts connections and never answers.
``takeover``: two engines share two partitions full of waiting instances; a start goes to each partition every 0.1 s
while one engine is ended. The longest time from a start to its committed decision is the figure. Real processes, on
Kafka only. One JSON line per case on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent))

from checkout import INPUT, measure
from flows import CONTRACTS, QUEUE, Ask, Done, flow
from parts import ANSWER, environment
from restore import fill, start

from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics, running
from sagaline.workers import Context, Worker

WORKERS, FLOWS, PARTITIONS = 3, 50, 2
EVERY_SECONDS, CALM_SECONDS, PATIENCE_SECONDS = 0.1, 3.0, 90.0
ROLES = {"api": ("api", "flows:flow"), "worker": ("worker", "handover:workers"), "engine": ("run", "flows:flow")}


def _worker(number: int) -> Worker:
    worker = Worker(f"{QUEUE}-{number}")
    for contract in CONTRACTS:

        @worker.handles(contract)
        async def handle(command: Ask, ctx: Context) -> Done:
            return ANSWER

    return worker


workers = [_worker(number) for number in range(WORKERS)]


@dataclass(frozen=True)
class Part:
    child: asyncio.subprocess.Process
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def owned(self) -> list[int]:
        """The partitions last assigned to this engine."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        found: list[list[int]] = [line["partitions"] for line in lines if line["event"] == "partitions assigned"]
        return found[-1] if found else []

    async def stopped(self) -> float:
        """Seconds from SIGTERM to its exit."""
        begin = perf_counter()
        self.child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.child.wait(), PATIENCE_SECONDS) == 0, self.said()
        return round(perf_counter() - begin, 2)


@asynccontextmanager
async def process(command: tuple[str, ...], env: dict[str, str]) -> AsyncIterator[Part]:
    """A running ``saga`` process; killed at the end if it still runs."""
    with tempfile.NamedTemporaryFile() as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagaline.orchestrator.cli", *command), env=env, stdout=output, stderr=output
        )
        part = Part(child, Path(output.name))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while "Ctrl-C stops it" not in part.said():
                    assert child.returncode is None, part.said()
                    await asyncio.sleep(0.05)
            yield part
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


@asynccontextmanager
async def collector(kind: str) -> AsyncIterator[dict[str, str]]:
    """The environment that exports to it."""
    if kind == "none":
        yield {}
        return
    held: list[asyncio.StreamWriter] = []  # a dropped one would be closed
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}
    if kind == "closed":
        server.close()
    yield address
    server.close()
    for writer in held:
        writer.close()


async def stop(settings: Settings, kind: str, under_way: int) -> dict[str, object]:
    """Each part is stopped in turn and started again, so that all run while one stops."""
    row: dict[str, object] = {"collector": kind, "flows_under_way": under_way}
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_base(settings))
        await prepare_topics(base, [QUEUE])
        more = await stack.enter_async_context(collector(kind))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        env = environment(settings, SAGALINE_PORT="0", SAGALINE_READ_MODEL=f"sqlite:///{folder}/read.db", **more)
        children = {role: await stack.enter_async_context(process(command, env)) for role, command in ROLES.items()}
        begun: list[str] = []

        def begin(key: str) -> Outgoing:
            begun.append(key)
            return request(base, key)

        if under_way:
            load = measure(base, begin, under_way, len(ROLES) * 2 * PATIENCE_SECONDS)
            await stack.enter_async_context(running(load, "load"))  # type: ignore[arg-type]  # its result is not used
        for role, command in ROLES.items():
            await asyncio.sleep(CALM_SECONDS)
            # A client starts its next flow when its last one has ended: all flows are under way and make progress.
            enough = len(begun) + under_way
            async with asyncio.timeout(PATIENCE_SECONDS):
                while under_way and len(begun) <= enough:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.05)
            row[f"{role}_s"] = await children[role].stopped()
            await stack.enter_async_context(process(command, env))
    return row


def request(base: Base, key: str) -> Outgoing:
    begun = Start(id=key, definition=flow.name, key=key, input=INPUT)
    return encode_request(base.topics.inputs, begun, source="/bench", now_ms=base.clock.now_ms())


class Starts:
    """Sends a start to each partition again and again; knows how long each waited for its decision."""

    def __init__(self, base: Base, first: int) -> None:
        self._base, self._next = base, first
        self.sent: dict[bytes, float] = {}
        self.waited: dict[bytes, float] = {}

    async def run(self) -> None:
        tail = await self._base.log.tail([self._base.topics.history], "latest")
        async with running(self._send(), "send"):
            while True:
                for record in await tail.poll(max_records=1_000, timeout=1.0):
                    if record.key in self.sent and record.key not in self.waited:
                        self.waited[record.key] = perf_counter() - self.sent[record.key]

    async def _send(self) -> None:
        while True:
            wanted = set(range(PARTITIONS))
            while wanted:
                record = encode_request(
                    self._base.topics.inputs, start(self._next), source="/b", now_ms=self._base.clock.now_ms()
                )
                self._next += 1
                if record.key is not None and (partition := partition_of(record.key, PARTITIONS)) in wanted:
                    wanted.remove(partition)
                    self.sent[record.key] = perf_counter()
                    await self._base.log.append([record])
            await asyncio.sleep(EVERY_SECONDS)

    async def longest(self, since: float) -> float:
        """The longest wait of those sent from then on, when all that were sent until a calm time ago are decided."""
        await asyncio.sleep(max(0.0, since + CALM_SECONDS - perf_counter()))
        until = perf_counter() - CALM_SECONDS / 2
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [k for k, at in self.sent.items() if since <= at < until and k not in self.waited]:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.05)
        return max(wait for key, wait in self.waited.items() if self.sent[key] >= since)


async def takeover(settings: Settings, count: int, how: signal.Signals) -> dict[str, object]:
    async with open_base(settings) as base:
        await prepare_topics(base, [QUEUE])
        await fill(base, count)
        env = environment(settings, SAGALINE_LOG_FORMAT="json")
        command = ("run", "restore:saga")
        starts = Starts(base, count)
        async with process(command, env) as first, process(command, env), running(starts.run(), "starts"):
            begin = perf_counter()
            async with asyncio.timeout(PATIENCE_SECONDS):  # until the second has its share
                await asyncio.sleep(2 * CALM_SECONDS)
                while await starts.longest(perf_counter()) > 1.0:
                    pass
            owned = first.owned()
            assert owned, f"the engine that ends owns no partition: {first.said()}"
            settled, begin = round(perf_counter() - begin, 2), perf_counter()
            first.child.send_signal(how)
            longest = await starts.longest(begin)
            await first.child.wait()
    row = {"documents": count, "signal": how.name, "owned": owned, "settled_s": settled}
    return row | {"longest_wait_s": round(longest, 2)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stop", "takeover"))
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--documents", type=int, default=10_000, help="of both partitions together")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for turn in range(options.runs):
        for number in range(6 if options.what == "stop" else 2):
            settings = Settings(
                log=f"kafka://{options.bootstrap}",
                namespace=f"h{turn}{number}-{os.getpid()}",
                partitions=PARTITIONS,
                development=True,
            )
            row: dict[str, object] = {"run": turn, "member_timeout_s": settings.member_timeout.total_seconds()}
            if options.what == "stop":
                row |= await stop(settings, ("none", "closed", "silent")[number // 2], FLOWS * (number % 2))
            else:
                row |= await takeover(settings, options.documents, (signal.SIGKILL, signal.SIGTERM)[number])
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
