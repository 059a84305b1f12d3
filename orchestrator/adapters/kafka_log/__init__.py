"""The log port on Apache Kafka, through aiokafka."""

from __future__ import annotations

from .log import KafkaLog
from .settings import Connection, Limits

__all__ = ["Connection", "KafkaLog", "Limits"]
