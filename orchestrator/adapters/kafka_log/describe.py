"""DescribeTransactions (KIP-664), version 0, on aiokafka's wire classes: the coordinator's decision for an id."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol import api
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

__all__ = ["DescribeTransactions"]

_Request: Any = api.Request
_RequestStruct: Any = api.RequestStruct
_Response: Any = api.Response

_TEXT = CompactString("utf-8")
_TOPIC = (("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))
_STATE = (
    ("error_code", Int16),
    ("transactional_id", _TEXT),
    ("state", _TEXT),
    ("timeout_ms", Int32),
    ("start_ms", Int64),
    ("producer_id", Int64),
    ("producer_epoch", Int16),
    ("topics", CompactArray(*_TOPIC)),
    ("tags", TaggedFields),
)


class _Answer(_Response):  # type: ignore[misc]  # aiokafka's classes carry no types
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(("throttle_time_ms", Int32), ("states", CompactArray(*_STATE)), ("tags", TaggedFields))


class _Question(_RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(("transactional_ids", CompactArray(_TEXT)), ("tags", TaggedFields))


class DescribeTransactions(_Request[_Question]):  # type: ignore[misc]
    """Requests one transactional id; the first element of ``states`` is the answer: (error_code, id, state, ...)."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._id = transactional_id

    def build(self, request_struct_class: type[_Question]) -> _Question:
        make: Any = request_struct_class
        built: _Question = make([self._id], {})
        return built
