"""A whole small system whose log is sealed at rest: it works, keys are rotated, and a missing one stops it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator import wiring
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.cli.step_over import step_over
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.errors import ConfigurationError, MissingKey, TransientError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.ports.log import Batch, Outgoing, Position, Record, TopicPartition
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime import projector
from sagaline.orchestrator.runtime.projector import Projector
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.vault import KeyRing
from sagaline.orchestrator.vault.envelope import seal_record
from sagaline.orchestrator.vault.sealed_log import SealedLog
from sagaline.sagas.examples.order_checkout import checkout

from .stack import order, running

OLD, NEW = (f"{id}:{b64encode(bytes([number]) * 32).decode()}" for number, id in enumerate(("old", "new"), start=1))
SECRET = "ada-4000-0000-0000-0002"


@asynccontextmanager
async def system(folder: Path, *keys: str) -> AsyncIterator[Client]:
    settings = Settings(
        log=f"sqlite:///{folder / 'log.db'}",
        read_model=f"sqlite:///{folder / 'read-model.db'}",
        partitions=2,
        payload_keys=keys,  # type: ignore[arg-type]  # pydantic makes secrets of them
    )
    registry = Registry([checkout])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(wiring.open_base(settings))
        await wiring.prepare_topics(base, registry.queues)
        engine = wiring.engine(base, registry)
        client = await stack.enter_async_context(wiring.client(base, registry, engine))
        await stack.enter_async_context(wiring.running(engine.run(), "engine"))
        yield client


def stored(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.glob("log.db*"))


async def test_what_is_written_is_sealed_and_old_keys_still_open(tmp_path: Path) -> None:
    async with system(tmp_path, OLD) as client:
        await client.start("order-checkout", order(customer=SECRET), key="A-1")
    assert SECRET.encode() not in await asyncio.to_thread(stored, tmp_path)
    async with system(tmp_path, NEW, OLD) as client:
        acted = await client.cancel("order-checkout/A-1", by="ann")
        assert acted.changed
        await client.start("order-checkout", order(customer=SECRET), key="A-2")
        for key in ("A-1", "A-2"):
            assert SECRET in str((await client.get(f"order-checkout/{key}")).state)
    assert SECRET.encode() not in await asyncio.to_thread(stored, tmp_path)


@pytest.mark.parametrize("keys", [(), (NEW,)])
async def test_a_process_without_the_key_says_so_and_changes_nothing(tmp_path: Path, keys: tuple[str, ...]) -> None:
    async with system(tmp_path, OLD) as client:
        await client.start("order-checkout", order(customer=SECRET), key="A-1")
    with pytest.raises(MissingKey, match=r"sealed by the key 'old', which is not in SAGALINE_PAYLOAD_KEYS: add that"):
        async with system(tmp_path, *keys):
            pass
    async with system(tmp_path, NEW, OLD) as client:
        assert (await client.get("order-checkout/A-1")).status.is_active


async def test_an_altered_record_is_stepped_over_and_nothing_before_it(tmp_path: Path) -> None:
    """On SQLite as on Kafka: not one whose key is only missing, not behind unfinished ones, not beside its readers."""
    topics, keys, ring = Topics("n"), [OLD], KeyRing([OLD], "KEYS")
    queue, group = topics.commands("q"), "n.worker.q"
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}", namespace="n", partitions=1, payload_keys=keys)  # type: ignore[arg-type]

    async def step(place: str, **more: Any) -> None:
        changed = settings.model_copy(update=more)
        await asyncio.to_thread(step_over, changed, place, reason="a test", by="ann")

    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
        await log.create_topics(topics.specs(["q"], 1))
        sealed = SealedLog(log, ring, "n")
        for topic in (topics.inputs, queue):
            await sealed.append([Outgoing(topic, b"k", b"one", (), 0)])
            record = seal_record(ring, Outgoing(topic, b"k", b"two", (), 0))
            await log.append([record._replace(value=(record.value or b"")[:-1] + b"?")])
            await sealed.append([Outgoing(topic, b"k", b"three", (), 0)])
            with pytest.raises(ConfigurationError, match="from offset 0 on are unfinished and would be lost"):
                await step(f"{topic}/0/1")
        membership = await sealed.join(topics.inputs, topics.state, "n.engine")
        await membership.changed()
        owner = await membership.take(0)
        await owner.commit(Batch({}, [], Position(1, 1)))
        await owner.release()
        workers = await log.subscribe([queue], group)
        await workers.poll(max_records=1, timeout=1.0)
        await workers.commit({TopicPartition(queue, 0): 1})
        for topic in (topics.inputs, queue):
            with pytest.raises(ConfigurationError, match="stop those processes"):
                await step(f"{topic}/0/1")
        await membership.leave()
        await workers.close()
        for topic in (topics.inputs, queue):
            with pytest.raises(MissingKey, match="'old'"):
                await step(f"{topic}/0/1", payload_keys=())
            for wrong, why in ((f"{topic}/0/2", "is stopped at offset 1"), (f"{topic}/7/1", "has no partition 7")):
                with pytest.raises(ConfigurationError, match=why):
                    await step(wrong)
            await step(f"{topic}/0/1")
            with pytest.raises(ConfigurationError, match="can be read"):
                await step(f"{topic}/0/2")
        again = await sealed.join(topics.inputs, topics.state, "n.engine")
        await again.changed()
        owner = await again.take(0)
        assert [record.value for record in await owner.poll(max_records=9, timeout=1.0)] == [b"three"]
        subscription = await sealed.subscribe([queue], group)
        assert [record.value for record in await subscription.poll(max_records=9, timeout=1.0)] == [b"three"]
        noted = await (await log.tail([topics.history], "earliest")).poll(max_records=9, timeout=1.0)
        assert ["a test (by ann)" in decode_history(each).reason for each in noted] == [True, True]


async def ready(client: Client) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await client.check_ready()
            except TransientError:
                await asyncio.sleep(0.05)


async def test_an_api_whose_read_model_lacks_a_key_says_so_until_it_has_it(tmp_path: Path) -> None:
    """Rotated in the wrong order: another process seals by a key that this one does not have."""
    async with system(tmp_path, OLD) as client:
        first = await client.start("order-checkout", order(customer=SECRET), key="A-1")
        await ready(client)
        projector = client._parts.projector
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
            sealed = SealedLog(log, KeyRing([NEW], "KEYS"), "sagaline")
            await sealed.append([Outgoing("sagaline.history", b"k", b"{}", (), 0)])
        async with asyncio.timeout(10):
            while projector._stopped is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(TransientError, match=r"shows nothing new: sagaline.history/0/\d+: .*'new'.*add that key"):
            await client.check_ready()
        assert (await client.get(first.instance)).key == "A-1", "what it shows already is still shown"
        assert projector._metrics.counts["partitions.stopped"] == 1
    async with system(tmp_path, OLD, NEW) as client:
        await ready(client)


class ByPartition:
    """The real log, whose tails give what has arrived of the lowest partition first, as a fetch of Kafka may."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    async def tail(self, *places: object, **more: object) -> ByPartition:
        return ByPartition(await self._inner.tail(*places, **more))  # type: ignore[attr-defined]  # a log

    async def poll(self, **limits: object) -> list[Record]:
        return sorted(await self._inner.poll(**limits), key=lambda each: each.partition)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Watched(Projector):
    """Notes every change of why it is stopped."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_stopped":
            self.__dict__.setdefault("reasons", []).append(value)
        super().__setattr__(name, value)


async def test_a_projector_stands_until_the_record_is_passed_although_other_partitions_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its readiness changes to and fro."""
    monkeypatch.setattr(projector, "_LONGEST_WAIT_SECONDS", 0.01)
    topics, ring = Topics("n"), KeyRing([OLD], "KEYS")
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
        await log.create_topics(topics.specs([], 2))
        read_model = await SqlReadModel.open(f"sqlite:///{tmp_path / 'read-model.db'}", namespace="n")
        watched = Watched(SealedLog(ByPartition(log), ring, "n"), topics, read_model, SystemClock())
        moving, standing = TopicPartition(topics.history, 0), TopicPartition(topics.history, 1)
        await SealedLog(log, KeyRing([NEW], "KEYS"), "n").append([Outgoing(topics.history, b"k", b"{}", (), 1)])
        async with running(watched.run()), asyncio.timeout(10):
            for offset in range(3):
                await log.append([Outgoing(topics.history, b"k", b"{}", (), 0)])
                await watched._until(lambda end=offset + 1: watched._applied.get(moving, 0) >= end, 10)
            assert watched.__dict__["reasons"].count(None) == 1, "only at its beginning"
            with pytest.raises(TransientError, match="'new'"):
                watched.check_reading()
            ring._keys.update(KeyRing([NEW], "KEYS")._keys)
            await watched._until(lambda: watched._applied.get(standing, 0) >= 1, 10)
            await watched.followed(timeout=10)
            watched.check_reading()
        await read_model.close()
