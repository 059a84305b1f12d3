"""A blob: the reference to a large payload that travels in its stead, and what can be wrong with it."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from ...orchestrator.errors import SagalineError, TransientError

__all__ = ["KEY", "Blob", "BlobAltered", "BlobMissing", "BlobsUnavailable"]

KEY: Final = r"^(?:\d{4}-\d{2}-\d{2}|of-[0-9a-f]{32})/[0-9a-f]{32}$"
"""Objects of ours: by the day on which they were put, or by their owner."""


class Blob(BaseModel):
    """A field of a message for a payload in a ``BlobStore``; some 200 bytes of JSON.

    It names no store: a message cannot make its reader fetch from elsewhere.
    """

    model_config = ConfigDict(frozen=True)

    key: Annotated[str, Field(pattern=KEY)]
    """Of the object, in its store."""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of the payload."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    media_type: Annotated[str, Field(max_length=255)]
    """Such as ``application/pdf``."""


class BlobMissing(SagalineError):
    """The payload is not in the store. The operator restores it, or its sender sends the message again."""

    def __init__(self, blob: Blob, store: str) -> None:
        super().__init__(
            f"the object {blob.key} is not in {store}: it has expired, was deleted, or was put into another store. "
            "Restore it, or send the message again with its payload; keep objects longer than messages can wait"
        )
        self.blob = blob


class BlobAltered(SagalineError):
    """What is in the store is not what was put there. Nothing that was read of it may be used."""

    def __init__(self, blob: Blob, store: str, found: str) -> None:
        super().__init__(
            f"the object {blob.key} in {store} is not what was put there: {blob.size:,} bytes with {blob.digest} are "
            f"expected, found were {found}. Restore it, or send the message again with its payload, and find out who "
            "writes there"
        )
        self.blob = blob


class BlobsUnavailable(TransientError):
    """The store did not answer, or not in time. Repeating is safe; a repeated put leaves an object that expires."""
