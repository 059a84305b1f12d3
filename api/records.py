"""The routes of raw records: what stands in the topics, with key, headers, offset and tombstones."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client, RecordsFilter
from ..orchestrator.kernel import names_instance
from ..orchestrator.ports.log import Record, TopicPartition
from .bodies import Json
from .identity import Permission, needs
from .letters import BytesView, HeaderView, header_views, shown
from .problems import documented
from .queries import only
from .views import iso

__all__ = ["records_router"]

_LIMIT_MAX = 100
_SHOWN_BYTES = 16_384
_OFFSET_MAX = 2**62


class TopicView(BaseModel):
    """A topic of the namespace."""

    topic: str
    ends: list[int] = Field(description="for each partition the offset after its last committed record")


class TopicsView(BaseModel):
    """The topics, by name."""

    topics: list[TopicView]


class RecordView(BaseModel):
    """One record."""

    partition: int
    offset: int
    at: str = Field(description="the time of the log")
    key: BytesView | None
    value: BytesView | None = Field(description="its first 16,384 bytes; null: a tombstone")
    bytes: int = Field(description="of the whole value")
    headers: list[HeaderView]
    instance: str | None = Field(description="the instance that it is about; null: none, or it does not say")


class RecordsView(BaseModel):
    """A page of records, newest first."""

    records: list[RecordView]
    before: int | None = Field(description="pass it on as ?before= for older records; null: there are none")


def records_router(client: Client) -> APIRouter:
    """Read-only routes for administrators: records hold everything, secrets of webhooks included."""
    router = APIRouter(prefix="/v1", tags=["records"])

    @router.get(
        "/topics",
        response_model=TopicsView,
        summary="List the topics of the namespace",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.ADMINISTER)
    async def list_topics(request: Request) -> Response:
        only(request)
        found = await client.records.topics()
        return Json(TopicsView(topics=[TopicView(topic=each.topic, ends=[*each.ends]) for each in found]))

    @router.get(
        "/topics/{topic}/records",
        response_model=RecordsView,
        summary="Show raw records of a partition, newest first",
        description="A page looks at up to 5,000 offsets: with `key` or `latest` it may be empty and have a `before`.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.ADMINISTER)
    async def list_records(
        request: Request,
        topic: str,
        *,
        partition: Annotated[int, Query(ge=0, le=100_000)] = 0,
        before: Annotated[int | None, Query(ge=0, le=_OFFSET_MAX, description="only offsets below it")] = None,
        key: Annotated[str | None, Query(max_length=1_000, description="only records with this key")] = None,
        latest: Annotated[bool, Query(description="of each key only the newest record")] = False,
        limit: Annotated[int, Query(ge=1, le=_LIMIT_MAX)] = 50,
    ) -> Response:
        only(request, "partition", "before", "key", "latest", "limit")
        where = RecordsFilter(key=key.encode() if key is not None else None, latest=latest)
        page = await client.records.page(TopicPartition(topic, partition), where, before=before, limit=limit)
        return Json(RecordsView(records=[_view(client, each) for each in page.records], before=page.before))

    return router


def _view(client: Client, record: Record) -> RecordView:
    headers = [(name, _coded(value)) for name, value in record.headers]
    return RecordView(
        partition=record.partition,
        offset=record.offset,
        at=iso(record.timestamp_ms),
        key=shown(None if record.key is None else _coded(record.key)),
        value=shown(None if record.value is None else _coded(record.value[:_SHOWN_BYTES])),
        bytes=len(record.value or b""),
        headers=header_views(headers),
        instance=_instance(client, record),
    )


def _instance(client: Client, record: Record) -> str | None:
    """By the key where that is an entity's id, else by the subject of the event."""
    topics = client.topics
    by_key = record.topic in (topics.inputs, topics.state, topics.history, topics.archive)
    raw = record.key if by_key else dict(record.headers).get("ce_subject")
    text = (raw or b"").decode(errors="replace")
    return text if "/" in text and names_instance(text) else None


def _coded(raw: bytes) -> str:
    return b64encode(raw).decode()
