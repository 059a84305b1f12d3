"""A whole small system whose log is sealed at rest: it works, keys are rotated, and a missing one stops it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sagaline.orchestrator import wiring
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.errors import MissingKey
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.sagas.examples.order_checkout import checkout

from .stack import order

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
