"""The log port on Apache Kafka, through aiokafka."""

from __future__ import annotations

from .log import KafkaLog
from .settings import Connection, Limits
from .taking import Topics as KafkaTopics

__all__ = ["Connection", "KafkaLog", "KafkaTopics", "Limits"]
