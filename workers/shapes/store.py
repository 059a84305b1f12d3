"""The store of the claim check: payloads lie in a folder or in S3, messages carry their ``Blob``.

- An object is written once, under a fresh id, and never changed; a reader checks its digest.
- Memory is bounded: payloads pass in parts of some megabytes.
- Only keys of our own form are ever read or deleted; the rest of a folder or bucket is not ours.
- obstore is called in threads, not by its own asyncio calls: those let a program that ends right after them abort now
  and then (about once in ten, seen with 0.12.1). Only a payload that comes from an iterator needs them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ...orchestrator.adapters.clock import SystemClock
from ...orchestrator.errors import ConfigurationError
from ...orchestrator.ports.clock import Clock
from ..threads import Threads
from .blob import KEY, Blob, BlobAltered, BlobMissing, BlobsUnavailable
from .media import media_type as read_media_type

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BlobStore"]

_THREADS: Final = Threads("sagaline-blobs")
_OURS: Final = re.compile(KEY)
_PART_BYTES: Final = 8 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_PARTS_AT_ONCE: Final = 2
_LIST: Final = 1_000
_CLIENT: Final = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "1h"}
_RETRY: Final = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}


class BlobStore:
    """Payloads in a folder or in S3. Make it with ``open``; it may be shared, and needs no closing."""

    def __init__(self, objects: ObjectStore, name: str, clock: Clock, *, typed: bool) -> None:
        self._objects, self._name, self._clock, self._typed = objects, name, clock, typed

    def __repr__(self) -> str:
        return f"BlobStore({self._name!r})"

    @classmethod
    def open(cls, url: str, *, options: Mapping[str, str] | None = None, clock: Clock | None = None) -> BlobStore:
        """A store. Nothing is asked of it yet; a folder is made.

        Args:
            url: ``file:///folder`` or ``s3://bucket/prefix``.
            options: for S3, as obstore names them (``endpoint``, ``region``, ``access_key_id``, ``secret_access_key``);
                what is missing comes from the environment (``AWS_…``), as usual.
            clock: for tests.

        Raises:
            ConfigurationError: another kind of address, an unknown option, or obstore is not installed.
        """
        scheme = urlsplit(url).scheme
        try:
            from obstore import exceptions
            from obstore.store import LocalStore, S3Store
        except ImportError as error:
            raise ConfigurationError(
                f"a BlobStore needs obstore, which is not installed ({error}): pip install 'sagaline[claim-check]'"
            ) from error
        try:
            objects: ObjectStore
            if scheme == "file":
                objects = LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
            elif scheme == "s3":
                given: Any = dict(options or {})
                client: Any = {**_CLIENT, "allow_http": str(given.get("endpoint", "")).startswith("http://")}
                retry: Any = _RETRY
                objects = S3Store.from_url(url, config=given, client_options=client, retry_config=retry)
            else:
                raise ConfigurationError(f"{url!r} is no store; give file:///folder or s3://bucket/prefix")
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise ConfigurationError(f"the store {url!r} cannot be opened: {_first_line(error)}; correct it") from error
        return cls(objects, url, clock or SystemClock(), typed=scheme == "s3")

    async def put(
        self,
        payload: bytes | AsyncIterable[bytes],
        *,
        media_type: str = "application/octet-stream",
        under: str | None = None,
    ) -> Blob:
        """Stores a payload; when it returns, the store has confirmed it. Then send the message with the ``Blob``.

        A second call stores a second object: a handler that is repeated leaves one that nobody refers to, until it
        expires. Nothing is left of a payload whose iterator raised, but perhaps parts that S3 does not show.

        Args:
            payload: at most 80 GB in S3. An iterator is read once, and at most some parts of 8 MiB ahead.
            media_type: of the payload.
            under: its owner, such as an instance (``order/A-1``): ``expire`` can delete what one owner has.

        Raises:
            ValueError: not a media type.
            ConfigurationError: the store does not let us write, or there is no such bucket.
            BlobsUnavailable: see there.
            Exception: what the iterator raises.
        """
        media = str(read_media_type(media_type))
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        key = f"{now.date().isoformat() if under is None else _owner(under)}/{self._clock.new_id()}"
        measured = _Measured(payload)
        import obstore

        with self._told(measured):
            options: Any = {
                "attributes": {"Content-Type": media} if self._typed else None,
                "chunk_size": _PART_BYTES,
                "max_concurrency": _PARTS_AT_ONCE,
            }
            if isinstance(payload, bytes):
                await _THREADS.run(obstore.put, self._objects, key, payload, **options)
            else:
                await obstore.put_async(self._objects, key, measured.chunks(payload), **options)
        return Blob(key=key, digest=measured.digest, size=measured.size, media_type=media)

    async def read(self, blob: Blob) -> bytes:
        """The whole payload, in memory: look at ``blob.size`` before.

        Raises:
            BlobMissing, BlobAltered, BlobsUnavailable, ConfigurationError: see ``stream``.
        """
        return b"".join([chunk async for chunk in self.stream(blob)])

    async def stream(self, blob: Blob) -> AsyncIterator[bytes]:
        """The payload in pieces of about a megabyte. It is proven only when the iterator has ended without an error:
        commit nothing before.

        Raises:
            BlobMissing: there is no such object.
            BlobAltered: its size or digest is another; after pieces were given.
            BlobsUnavailable: see there.
            ConfigurationError: the store does not let us read.
        """
        import obstore

        measured = _Measured(b"")
        with self._told(measured, blob):
            found = await _THREADS.run(obstore.get, self._objects, blob.key)
            pieces = iter(found.stream(min_chunk_size=_CHUNK_BYTES))
        while True:
            with self._told(measured, blob):
                piece = await _THREADS.run(next, pieces, None)
            if piece is None:
                break
            piece = bytes(piece)
            measured.add(piece)
            if measured.size > blob.size:
                raise BlobAltered(blob, self._name, "more bytes")
            yield piece
        if (measured.size, measured.digest) != (blob.size, blob.digest):
            raise BlobAltered(blob, self._name, f"{measured.size:,} bytes with {measured.digest}")

    async def expire(self, older_than: timedelta, *, under: str | None = None, limit: int = 10_000) -> int:
        """Deletes objects of ours that were put longer ago, by the store's own time, and says how many.

        It asks no message: what is still referred to is deleted too, so give more than a message can wait and be
        redriven. It lists what is there to find the old ones; for large buckets a lifecycle rule of S3 is cheaper.
        If it returns ``limit``, call it again.

        Args:
            older_than: zero deletes whatever its age.
            under: only what this owner has; None: everything of ours in the store.
            limit: the most that one call deletes.

        Raises:
            ValueError: a negative span or limit.
            ConfigurationError, BlobsUnavailable: as ``put``; what was deleted before stays deleted.
        """
        if older_than < timedelta(0) or limit < 1:
            raise ValueError(f"older_than is {older_than}, limit {limit}; give a span of zero or more, and 1 or more")
        import obstore

        before = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC) - older_than
        deleted = 0
        prefix = None if under is None else _owner(under)
        pages = iter(obstore.list(self._objects, prefix, chunk_size=_LIST))
        while deleted < limit:
            with self._told(None):
                page = await _THREADS.run(next, pages, None)
            if page is None:
                break
            old = [
                each["path"]
                for each in page
                if _OURS.match(each["path"]) and (not older_than or each["last_modified"] < before)
            ][: limit - deleted]
            if old:
                with self._told(None):
                    await _THREADS.run(obstore.delete, self._objects, old)
            deleted += len(old)
        return deleted

    @contextmanager
    def _told(self, source: _Measured | None, blob: Blob | None = None) -> Iterator[None]:
        """Says who must act on an error of the store; what the caller's iterator raised passes unchanged."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            if source is not None and source.failed:
                raise
            missing = isinstance(error, FileNotFoundError | exceptions.NotFoundError)
            if missing and blob is not None:
                raise BlobMissing(blob, self._name) from error
            refused = (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
            if missing or isinstance(error, refused):
                raise ConfigurationError(
                    f"the store {self._name!r} refused: {_first_line(error)}; check that it exists, and the credentials"
                ) from error
            raise BlobsUnavailable(f"the store {self._name!r} failed: {_first_line(error)}; try again") from error


class _Measured:
    """Size and digest of what passes."""

    def __init__(self, payload: bytes | AsyncIterable[bytes]) -> None:
        self._hash, self.size, self.failed = hashlib.sha256(), 0, False
        if isinstance(payload, bytes):
            self.add(payload)

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    async def chunks(self, payload: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in payload:
                self.add(chunk)
                yield chunk
        except Exception:
            self.failed = True
            raise


def _owner(under: str) -> str:
    """The folder of an owner: one level, of characters that every store allows."""
    return f"of-{hashlib.sha256(under.encode(errors='surrogatepass')).hexdigest()[:32]}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
