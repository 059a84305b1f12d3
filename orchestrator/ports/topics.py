"""The names of a namespace's topics and their required properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .log import TopicSpec

__all__ = [
    "DEAD_RETENTION_MS",
    "GROWN",
    "INPUTS_RETENTION_MS",
    "POSITION_KEY",
    "WEBHOOK_DELIVERIES",
    "WEBHOOK_FAN_OUT",
    "Topics",
    "erases",
    "no_more_partitions",
    "state_of",
]

POSITION_KEY = b"~position"
"""Key of the record in the state topic that holds the consumed offset; no entity id begins with ``~``."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
INPUTS_RETENTION_MS = 7 * _DAY_MS
"""How long ``inputs`` must keep a record: if no engine runs for longer, starts are lost."""

DEAD_RETENTION_MS = 90 * _DAY_MS
"""How long a dead letter can be redriven; ``Limits.dead_retention_ms`` is the same."""

WEBHOOK_FAN_OUT = "webhooks"
WEBHOOK_DELIVERIES = "webhook-deliveries"
"""The groups of the two subscriptions that deliver to webhooks."""

GROWN = (
    "the number of partitions of a namespace cannot change, because its keys cannot move to other partitions. Set the "
    "number that it was created with; to use another one, create a fresh namespace with it, start new instances there, "
    "and let the open ones here end first (running processes keep the number that they started with)"
)
"""What to do about a topic with the wrong number of partitions."""


def no_more_partitions(what: str, made_with: int, asked_for: int) -> str:
    """The message when a number of partitions is not that of the namespace."""
    return (
        f"{what} was created with {made_with} partitions and this process has {asked_for}: keys would no longer match "
        f"their instances, and could start twice. Set --partitions {made_with} (SAGALINE_PARTITIONS={made_with}). To "
        "use another number create a fresh namespace with it, start new instances there, and let the open ones here end"
    )


def state_of(topic: str) -> str | None:
    """The state topic of an ``inputs`` topic, which says how far its records are decided; None: another topic."""
    namespace, _, last = topic.rpartition(".")
    return Topics(namespace).state if namespace and last == "inputs" else None


def erases(topic: str) -> bool:
    """True: a tombstone in this topic must make the records of its key unreadable, as soon as the log can do that."""
    namespace, _, last = topic.rpartition(".")
    return bool(namespace) and last == "personal" and "." not in namespace


class Topics(NamedTuple):
    """Topic names under one namespace; see docs/wire-format.md."""

    namespace: str = "sagaline"

    @property
    def made(self) -> str:
        """The topic of the namespace's record: one partition; every process reads it first."""
        return f"{self.namespace}.namespace"

    @property
    def core(self) -> tuple[str, ...]:
        """The topics that every namespace has, whatever its queues."""
        return self.inputs, self.state, self.history, self.events, self.dead, self.archive

    @property
    def shown(self) -> tuple[str, ...]:
        """The topics that feed a read model."""
        return self.state, self.history, self.dead

    @property
    def inputs(self) -> str:
        return f"{self.namespace}.inputs"

    @property
    def state(self) -> str:
        return f"{self.namespace}.state"

    @property
    def history(self) -> str:
        return f"{self.namespace}.history"

    @property
    def dead(self) -> str:
        return f"{self.namespace}.dead"

    @property
    def archive(self) -> str:
        """The last documents of instances that were removed, of definitions that archive them."""
        return f"{self.namespace}.archive"

    @property
    def events(self) -> str:
        return f"{self.namespace}.events"

    @property
    def replies(self) -> str:
        """Answers to requests of programs that are no saga; each reads one partition of it."""
        return f"{self.namespace}.replies"

    @property
    def workers(self) -> str:
        """What running workers tell about themselves, every few seconds; one partition."""
        return f"{self.namespace}.workers"

    @property
    def rules(self) -> str:
        """Rules of tables that processes follow, such as limits of queues: one partition, one record for each table."""
        return f"{self.namespace}.rules"

    @property
    def personal(self) -> str:
        """The keys of persons, one partition: what they have sealed is erased by a tombstone; see ``erases``."""
        return f"{self.namespace}.personal"

    def owns(self, topic: str) -> bool:
        """True for the topics whose records only the processes of the namespace may write."""
        own = {*self.core, self.made, self.replies, self.workers, self.rules, self.webhooks, self.personal}
        prefixes = tuple(f"{self.namespace}.{kind}." for kind in ("commands", "parked", "redelivered"))
        return topic in own or topic.startswith(prefixes)

    @property
    def webhooks(self) -> str:
        """Events on their way to webhooks; only where webhooks are delivered."""
        return f"{self.namespace}.webhooks"

    def for_webhooks(self, partitions: int) -> TopicSpec:
        """The topic ``webhooks``; what could not be sent meanwhile is in parcels."""
        return TopicSpec(self.webhooks, partitions, "delete", 7 * _DAY_MS)

    def commands(self, queue: str) -> str:
        return f"{self.namespace}.commands.{queue}"

    def parked(self, group: str, topic: str | None = None) -> str:
        """The state topic of a group of subscribers: its position, and the keys that wait for a retry.

        ``topic``: a foreign one that it reads; None: the namespace's events.
        """
        return f"{self.namespace}.parked.{group}{'' if topic is None else f'.{topic}'}"

    def redelivered(self, group: str, topic: str | None = None) -> str:
        """The topic by which parcels give messages back to a group."""
        return f"{self.namespace}.redelivered.{group}{'' if topic is None else f'.{topic}'}"

    def subscribed(self, group: str, topic: str | None, partitions: int) -> list[TopicSpec]:
        """The topics of a group of subscribers; ``partitions``: of the topic that it reads."""
        return [
            TopicSpec(self.parked(group, topic), partitions, "compact"),
            TopicSpec(self.redelivered(group, topic), partitions, "delete", 7 * _DAY_MS),
        ]

    def specs(self, queues: Sequence[str], partitions: int) -> list[TopicSpec]:
        """Every topic that an engine with these queues needs, all but five with the same number of partitions."""
        return [
            TopicSpec(self.made, 1, "compact"),
            TopicSpec(self.inputs, partitions, "delete", INPUTS_RETENTION_MS),
            TopicSpec(self.state, partitions, "compact"),
            TopicSpec(self.history, partitions, "delete", 90 * _DAY_MS),
            TopicSpec(self.events, partitions, "delete", 7 * _DAY_MS),
            TopicSpec(self.dead, partitions, "delete", DEAD_RETENTION_MS),
            TopicSpec(self.archive, partitions, "delete", 90 * _DAY_MS),
            TopicSpec(self.replies, partitions, "delete", _HOUR_MS),
            TopicSpec(self.rules, 1, "compact"),
            TopicSpec(self.personal, 1, "compact"),
            TopicSpec(self.workers, 1, "delete", _HOUR_MS),
            *(TopicSpec(self.commands(queue), partitions, "delete", 7 * _DAY_MS) for queue in sorted(set(queues))),
        ]
