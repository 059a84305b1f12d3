"""Topics: created with their policies, compared with their specification, never altered."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from ...errors import ConfigurationError, LogUnavailable, TopicMismatch
from ...ports.log import TopicPartition, TopicSpec
from ...ports.topics import GROWN, erases
from .driver import new_topic
from .settings import Connection
from .wire import TopicState, Wire

__all__ = ["Catalog"]

_ALREADY_EXISTS = 36
_TOO_FEW_BROKERS = 38
_STATE_SEGMENT_BYTES = 64 << 20
_BATCH_BYTES_MIN = 1_048_588
_ERASING = {"max.compaction.lag.ms": "21600000", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.01"}
"""Of topics whose records are erased by tombstones: Kafka removes them within some hours of later writes, not weeks."""
_COMPRESSIONS = ("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")
"""Allowed values of ``compression.type``: those that we can read."""


class Catalog:
    """The existing topics. Partition counts are kept as first seen: if a topic grows, keys must not move to other
    partitions.
    """

    def __init__(self, connection: Connection, wire: Wire, replication_factor: int, *, development: bool) -> None:
        self._connection = connection
        self._wire = wire
        self._replication_factor = replication_factor
        self._development = development
        self._counts: dict[str, int] = {}

    async def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        """Partition counts, without topics that do not exist."""
        if any(topic not in self._counts for topic in topics):
            known = await self._wire.topics()
            for name, state in known.items():
                if state.led:
                    self._counts.setdefault(name, state.partitions)
        return self._counts

    async def names(self) -> Collection[str]:
        """Every topic of the cluster that has leaders."""
        return [name for name, state in (await self._wire.topics()).items() if state.led]

    async def places(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Every partition of existing topics. Raises TopicMismatch when one is missing."""
        names = list(topics)
        counts = await self.partitions(names)
        missing = [name for name in names if name not in counts]
        if missing:
            known = await self._wire.topics()
            if any(name in known for name in missing):
                raise LogUnavailable(self._connection.gone(f"looking for the leaders of {', '.join(missing)}"))
            raise TopicMismatch(f"there is no topic {', '.join(missing)}: create it (saga topics create)")
        return [TopicPartition(name, partition) for name in names for partition in range(counts[name])]

    async def require(self, topic: str, partition: int) -> None:
        """Returns if the partition exists. Raises ConfigurationError, TopicMismatch, LogUnavailable."""
        if TopicPartition(topic, partition) not in (places := await self.places([topic])):
            raise ConfigurationError(f"{topic} has no partition {partition}: give 0 to {len(places) - 1}")

    async def explained(self, error: LogUnavailable, topics: Iterable[str]) -> LogUnavailable:
        """The same error, or TopicGone if missing topics are the cause."""
        return await self._wire.explained(error, topics)

    async def earliest(self, place: TopicPartition) -> int:
        return (await self._wire.offsets([place], "earliest"))[place]

    async def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        known = await self._wire.topics()
        await self._compare([spec for spec in specs if spec.name in known], known)
        missing = [spec for spec in specs if spec.name not in known]
        if not missing:
            return []
        answers = await self._wire.create([self._new(spec) for spec in missing])
        refused = [self._refusal(name, code, why) for name, (code, why) in answers.items() if code]
        if refused := [text for text in refused if text]:
            raise TopicMismatch("; ".join(refused))
        await self._until_usable(missing)
        await self.check(missing)
        return [spec.name for spec in missing if not answers[spec.name][0]]

    async def check(self, specs: Sequence[TopicSpec]) -> None:
        await self._compare(specs, await self._wire.topics())

    async def _compare(self, specs: Sequence[TopicSpec], known: Mapping[str, TopicState]) -> None:
        there = [spec.name for spec in specs if spec.name in known]
        configs = await self._wire.configs(there) if there else {}
        wrong = [text for spec in specs for text in self._differences(spec, known.get(spec.name), configs)]
        if wrong:
            raise TopicMismatch("; ".join(wrong))

    def _differences(
        self, spec: TopicSpec, state: TopicState | None, configs: Mapping[str, Mapping[str, str]]
    ) -> list[str]:
        name = spec.name
        if state is None:
            return [f"topic {name!r} does not exist: create it (saga topics create)"]
        found = []
        if state.partitions != spec.partitions:
            found.append(f"topic {name!r} has {state.partitions} partitions and must have {spec.partitions}: {GROWN}")
        if state.replicas < 2 and not self._development:
            found.append(
                f"topic {name!r} has replication factor {state.replicas}: if a broker dies, records are lost; "
                "use at least 2 (better 3), or declare development"
            )
        config = configs[name]
        if config["cleanup.policy"] != spec.policy:
            found.append(self._alter(name, "cleanup.policy", config["cleanup.policy"], spec.policy))
        if int(config["max.message.bytes"]) < _BATCH_BYTES_MIN:
            found.append(self._alter(name, "max.message.bytes", config["max.message.bytes"], str(_BATCH_BYTES_MIN)))
        if config["compression.type"] not in _COMPRESSIONS:
            found.append(self._alter(name, "compression.type", config["compression.type"], "producer"))
        in_sync = int(config["min.insync.replicas"])
        if in_sync > state.replicas:
            # Nothing could be written.
            found.append(self._alter(name, "min.insync.replicas", str(in_sync), str(max(1, state.replicas - 1))))
        elif in_sync < 2 and state.replicas >= 3 and not self._development:
            # Records that only one broker has acknowledged are lost if it dies.
            found.append(self._alter(name, "min.insync.replicas", str(in_sync), "2"))
        if erases(name) and int(config["max.compaction.lag.ms"]) > int(lag := _ERASING["max.compaction.lag.ms"]):
            found.append(self._alter(name, "max.compaction.lag.ms", config["max.compaction.lag.ms"], lag))
        kept_ms = int(config["retention.ms"])
        if spec.retention_ms is not None and spec.policy == "delete" and 0 <= kept_ms < spec.retention_ms:
            found.append(self._alter(name, "retention.ms", config["retention.ms"], str(spec.retention_ms)))
        if spec.retention_ms is not None and int(config["retention.bytes"]) >= 0:
            found.append(self._alter(name, "retention.bytes", config["retention.bytes"], "-1"))
        return found

    def _alter(self, name: str, key: str, found: str, wanted: str) -> str:
        return (
            f"topic {name!r} has {key}={found} and must have {key}={wanted}: "
            f"kafka-configs.sh --bootstrap-server {self._connection.bootstrap} --alter "
            f"--entity-type topics --entity-name {name} --add-config {key}={wanted}"
        )

    def _new(self, spec: TopicSpec) -> object:
        configs: dict[str, str] = {"cleanup.policy": spec.policy}
        if spec.retention_ms is not None:
            configs["retention.ms"] = str(spec.retention_ms)
        if spec.policy == "compact":
            # Kafka compacts only closed segments: small segments keep the restore short.
            configs |= {"segment.bytes": str(_STATE_SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.2"}
        if erases(spec.name):
            configs |= _ERASING
        if self._replication_factor >= 3:
            configs["min.insync.replicas"] = "2"
        return new_topic(spec.name, spec.partitions, self._replication_factor, configs)

    def _refusal(self, name: str, code: int, why: str) -> str:
        if code == _ALREADY_EXISTS:
            return ""
        if code == _TOO_FEW_BROKERS:
            return (
                f"topic {name!r} cannot have replication factor {self._replication_factor} ({why.strip()}): start more "
                "brokers, or declare development, which allows replication factor 1"
            )
        return f"topic {name!r} was not created (Kafka's error {code}: {why.strip() or 'no reason given'})"

    async def _until_usable(self, specs: Sequence[TopicSpec]) -> None:
        limit = self._connection.limits.take_s
        try:
            async with asyncio.timeout(limit):
                while not _usable(await self._wire.topics(), specs):  # noqa: ASYNC110  # Kafka has no event for it
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise LogUnavailable(self._connection.gone("waiting for new topics to have leaders", limit)) from None
        places = [TopicPartition(spec.name, partition) for spec in specs for partition in range(spec.partitions)]
        await self._wire.offsets(places, "high")


def _usable(known: Mapping[str, TopicState], specs: Sequence[TopicSpec]) -> bool:
    found = [known.get(spec.name) for spec in specs]
    return all(state is not None and 0 < state.partitions == state.led for state in found)
