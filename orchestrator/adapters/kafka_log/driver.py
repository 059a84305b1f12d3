"""The names of aiokafka that we use, and the checks that it can be used.

aiokafka carries few type hints: its objects are ``Any`` here and in the private functions that call it, and never
leave this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import aiokafka
import aiokafka.client
import aiokafka.errors
import aiokafka.producer.sender
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.conn import create_conn
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment as Assigned
from aiokafka.consumer.subscription_state import Subscription, SubscriptionState, TopicPartitionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.transaction_manager import TransactionManager
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
"""What aiokafka raises when the broker is gone, slow, or has fenced us; its state machine uses asserts."""

_CONFLICT_WAIT_S = 0.002
_PRIVATE: dict[Any, tuple[str, ...]] = {
    AIOKafkaAdminClient: ("_client",),
    AIOKafkaClient: ("_sync_task", "_wait_on_metadata", "cluster", "force_metadata_update", "send"),
    AIOKafkaConsumer: ("_client", "_coordinator", "_fetcher", "_subscription"),
    AIOKafkaProducer: ("_closed", "_message_accumulator", "_sender", "_txn_manager", "client"),
    Assigned: ("state_value", "tps"),
    GroupCoordinator: ("_coordination_task",),
    MessageAccumulator: ("_batches", "_pending_batches"),
    MessageBatch: ("_drain_waiter",),
    Subscription: ("assignment",),
    SubscriptionState: ("is_assigned", "reassignment_in_progress", "subscription"),
    TopicPartitionState: ("has_valid_position", "position"),
    TransactionManager: ("_transaction_waiter",),
    aiokafka.client: ("create_conn",),
}
"""The private attributes of aiokafka that we use."""


async def start_subscribed(consumer: Any, topics: Sequence[str], listener: Any) -> None:
    """Starts a group consumer and lets it join; its assignment comes later, to the listener.

    Metadata first: a group leader that does not know a topic's partitions yet assigns none of them, and never retries.
    (aiokafka itself waits for metadata only where it also waits for the assignment.)
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
    """Returns only if this aiokafka can be used; sets its wait between two transactions from 20 ms to 2 ms, and lets
    no connection of it stay open that nobody closes (see ``_connected``).

    Raises:
        ConfigurationError: asserts are disabled, the C extension is missing, or an attribute that we use is missing.
    """
    if not __debug__:
        raise ConfigurationError(
            "Python runs with -O, which removes the asserts that aiokafka's transactions rely on: run it without -O"
        )
    builder: Any = default_records.DefaultRecordBatchBuilder
    if builder.__module__ == default_records.__name__:
        raise ConfigurationError(
            "aiokafka's C extension is not loaded (it would be about 100 times slower): install a wheel for "
            "this Python and platform (pip install --force-reinstall --only-binary aiokafka aiokafka), "
            "and unset AIOKAFKA_NO_EXTENSIONS"
        )
    if missing := [
        f"{kind.__name__}.{name}" for kind, names in _PRIVATE.items() for name in names if _lacks(kind, name)
    ]:
        raise ConfigurationError(
            f"aiokafka {aiokafka.__version__} has no {', '.join(missing)}: install a tested release "
            "(pip install 'aiokafka==0.14.*')"
        )
    sender: Any = aiokafka.producer.sender
    if isinstance(getattr(sender, "BACKOFF_OVERRIDE", None), float):
        sender.BACKOFF_OVERRIDE = _CONFLICT_WAIT_S
    client: Any = aiokafka.client
    client.create_conn = _connected


def _lacks(kind: Any, name: str) -> bool:
    return not hasattr(kind, name) and name not in kind.__init__.__code__.co_names


async def _connected(host: str, port: int, *, on_close: Any = None, **options: Any) -> Any:
    """A connection for aiokafka's client, which loses two kinds of them without closing them: that of a start that is
    cancelled before the broker has answered, and one that is ready only after the client was closed.
    """
    connection: Any = await create_conn(host, port, on_close=on_close, **options)
    if on_close is None:  # of a start
        connection.send = partial(_send_or_close, connection, connection.send)
    elif on_close.__self__._sync_task is None:
        connection.close()
        raise aiokafka.errors.KafkaConnectionError("the client has been closed")
    return connection


async def _send_or_close(connection: Any, send: Any, request: Any, **how: Any) -> Any:
    try:
        return await send(request, **how)
    except BaseException:
        connection.close()
        raise
