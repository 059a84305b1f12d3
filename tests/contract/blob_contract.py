"""What every store of blobs does. Subclasses give a store, and a way past it to its objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import obstore
import pytest
from pydantic import BaseModel, ValidationError

from sagaline.workers.shapes import Blob, BlobAltered, BlobMissing, BlobStore

__all__ = ["BlobContract"]


async def pieces(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


class BlobContract:
    """Subclasses define the fixture ``store``."""

    async def test_what_was_put_is_read(self, store: BlobStore) -> None:
        blob = await store.put(b"pdf", media_type="Application/PDF")
        assert (blob.size, blob.media_type) == (3, "application/pdf")
        assert await store.read(blob) == b"pdf"
        assert await store.read(await store.put(b"")) == b""

    async def test_blobs_need_no_thread_that_handlers_may_hold(self, store: BlobStore) -> None:
        ended, loop = threading.Event(), asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        handler = asyncio.create_task(asyncio.to_thread(ended.wait))
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(20):
                assert await store.read(await store.put(b"pdf")) == b"pdf"
                assert await store.expire(timedelta(0)) == 1
        finally:
            ended.set()
            await handler

    async def test_an_iterator_is_stored_in_parts_and_read_in_pieces(self, store: BlobStore) -> None:
        blob = await store.put(pieces(20, 1_000_000))
        assert blob.size == 20_000_000
        found = [piece async for piece in store.stream(blob)]
        assert b"".join(found) == b"".join([piece async for piece in pieces(20, 1_000_000)])
        assert max(map(len, found)) < 10_000_000

    async def test_a_blob_is_a_small_field_of_a_message(self, store: BlobStore) -> None:
        class Scanned(BaseModel):
            document: Blob

        message = Scanned(document=await store.put(bytes(2_000_000), media_type="image/tiff"))
        written = message.model_dump_json()
        assert len(written) < 300
        assert await store.read(Scanned.model_validate_json(written).document) == bytes(2_000_000)

    async def test_what_is_gone_is_missing(self, store: BlobStore) -> None:
        blob = await store.put(b"pdf")
        await obstore.delete_async(store._objects, blob.key)
        with pytest.raises(BlobMissing, match=r"Restore it, or send the message again") as raised:
            await store.read(blob)
        assert raised.value.blob == blob

    @pytest.mark.parametrize("other", [b"pdg", b"pd", b"pdf and more", b""])
    async def test_what_was_changed_is_altered(self, store: BlobStore, other: bytes) -> None:
        blob = await store.put(b"pdf")
        await obstore.put_async(store._objects, blob.key, other)
        with pytest.raises(BlobAltered, match="is not what was put there"):
            await store.read(blob)

    async def test_an_iterator_that_raises_leaves_nothing(self, store: BlobStore) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield bytes(9_000_000)
            raise FileNotFoundError("the source is away")

        with pytest.raises(FileNotFoundError, match="the source is away"):
            await store.put(failing(), under="failing")
        assert await store.expire(timedelta(0), under="failing") == 0

    async def test_only_old_objects_expire(self, store: BlobStore) -> None:
        blob = await store.put(b"new")
        assert await store.expire(timedelta(minutes=5)) == 0
        assert await store.read(blob) == b"new"

    async def test_objects_expire_with_their_owner_in_bounded_steps(self, store: BlobStore) -> None:
        mine = await asyncio.gather(*(store.put(b"x", under="order/A-1") for _ in range(5)))
        other = await store.put(b"x", under="order/A-10")
        assert [await store.expire(timedelta(0), under="order/A-1", limit=3) for _ in range(3)] == [3, 2, 0]
        for blob in mine:
            with pytest.raises(BlobMissing):
                await store.read(blob)
        assert await store.read(other) == b"x"

    async def test_objects_of_others_are_never_deleted(self, store: BlobStore) -> None:
        await obstore.put_async(store._objects, "2026-01-01/theirs", b"x")
        await obstore.put_async(store._objects, "theirs", b"x")
        await store.put(b"x")
        assert await store.expire(timedelta(0)) >= 1
        assert bytes(await (await obstore.get_async(store._objects, "theirs")).bytes_async()) == b"x"
        assert bytes(await (await obstore.get_async(store._objects, "2026-01-01/theirs")).bytes_async()) == b"x"

    @pytest.mark.parametrize("key", ["../secret", "a/b", "2026-01-01/../x", "", "/etc/passwd"])
    async def test_a_message_cannot_name_other_objects(self, store: BlobStore, key: str) -> None:
        fields: dict[str, Any] = (await store.put(b"x")).model_dump() | {"key": key}
        with pytest.raises(ValidationError):
            Blob(**fields)

    async def test_wrong_arguments_are_told(self, store: BlobStore) -> None:
        with pytest.raises(ValueError, match="no content type"):
            await store.put(b"x", media_type="pdf")
        with pytest.raises(ValueError, match="give a span of zero or more"):
            await store.expire(timedelta(seconds=-1))
        with pytest.raises(ValueError, match="limit 0"):
            await store.expire(timedelta(0), limit=0)
