"""The log port on Apache Kafka, through aiokafka."""

from __future__ import annotations

from .log import KafkaLog
from .settings import Limits

__all__ = ["KafkaLog", "Limits"]
