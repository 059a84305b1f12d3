"""The names of aiokafka that we use, and the checks that it is fit for use.

aiokafka carries few type hints: its objects are ``Any`` here and in the private functions that call it, and never
leave this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiokafka
import aiokafka.errors
import aiokafka.producer.sender
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.record import default_records

from ...errors import ConfigurationError

__all__ = [
    "BROKEN",
    "Admin",
    "Assignment",
    "Client",
    "Consumer",
    "Coordination",
    "Partition",
    "Producer",
    "RebalanceListener",
    "new_topic",
    "require_sound_driver",
    "start_subscribed",
    "topic_resource",
]

Admin: Any = AIOKafkaAdminClient
Assignment: Any = ConsumerProtocolMemberAssignment
Client: Any = AIOKafkaClient
Consumer: Any = AIOKafkaConsumer
Coordination: Any = CoordinationType
Partition: Any = aiokafka.TopicPartition
Producer: Any = AIOKafkaProducer
RebalanceListener: Any = ConsumerRebalanceListener

BROKEN = (aiokafka.errors.KafkaError, OSError, TimeoutError, AssertionError)
"""What aiokafka raises when the broker is gone, slow, or has fenced us; its state machine is made of asserts."""

_CONFLICT_WAIT_S = 0.002


async def start_subscribed(consumer: Any, topics: Sequence[str], listener: Any) -> None:
    """Starts a group consumer and lets it join; its assignment comes later, to the listener.

    Metadata first: a leader that shares out a topic whose partitions it does not know yet gives nobody anything, and
    nothing makes it look again. (aiokafka waits for metadata by itself only where it also waits for the assignment.)
    """
    await consumer.start()
    for topic in topics:
        await consumer._client._wait_on_metadata(topic)
    consumer.subscribe(list(topics), listener=listener)


def new_topic(name: str, partitions: int, replication_factor: int, configs: dict[str, str]) -> Any:
    return NewTopic(name, partitions, replication_factor, topic_configs=configs)


def topic_resource(name: str) -> Any:
    return ConfigResource(ConfigResourceType.TOPIC, name)


def require_sound_driver() -> None:
    """Returns only if this aiokafka can be trusted, and sets its wait between two transactions from 20 ms to 2 ms.

    Raises:
        ConfigurationError: asserts are switched off, or the C extension is missing.
    """
    if not __debug__:
        raise ConfigurationError(
            "Python runs with -O, which removes the asserts that aiokafka's transactions consist of: run it without -O"
        )
    builder: Any = default_records.DefaultRecordBatchBuilder
    if builder.__module__ == default_records.__name__:
        raise ConfigurationError(
            "aiokafka's C extension is not loaded (records would cost a hundred times as much): install a wheel for "
            "this Python and platform (pip install --force-reinstall --only-binary aiokafka aiokafka), "
            "and unset AIOKAFKA_NO_EXTENSIONS"
        )
    sender: Any = aiokafka.producer.sender
    if isinstance(getattr(sender, "BACKOFF_OVERRIDE", None), float):
        sender.BACKOFF_OVERRIDE = _CONFLICT_WAIT_S
