"""How a namespace was made is recorded in the log, and everybody is told what follows from it, on every log."""

from __future__ import annotations

import uuid

import pytest

from sagaline.orchestrator.codec.namespaces import LOG_FORMAT, MADE_KEY, encode_made
from sagaline.orchestrator.errors import CorruptRecord, TopicMismatch
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Log, Outgoing
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.namespace import prepare, read_made

from .harness import QUEUE, LogHarness, out

__all__ = ["NamespaceLaws"]


class NamespaceLaws(LogHarness):
    def unmade(self) -> Topics:
        """A namespace that nobody has made yet."""
        return Topics(f"n{uuid.uuid4().hex[:12]}")

    async def test_how_a_namespace_was_made_is_read_by_everybody(self, log: Log, second_log: Log) -> None:
        topics = self.unmade()
        names, created = await prepare(log, topics, [QUEUE], self.partitions, create=True)
        assert list(created) == list(names)
        made = await read_made(second_log, topics)
        assert made is not None
        assert made[:3] == (LOG_FORMAT, topics.namespace, self.partitions)
        assert (await prepare(second_log, topics, [QUEUE], self.partitions, create=False))[1] == ()
        assert list((await prepare(second_log, topics, ["late"], self.partitions, create=True))[1]) == [
            topics.commands("late")
        ]

    @pytest.mark.parametrize("create", [True, False])
    async def test_another_number_of_partitions_is_refused_with_the_safe_way(
        self, log: Log, second_log: Log, create: bool
    ) -> None:
        topics = self.unmade()
        await prepare(log, topics, [], self.partitions, create=True)
        with pytest.raises(TopicMismatch, match="fresh namespace") as refused:
            await prepare(second_log, topics, [], self.partitions + 2, create=create)
        assert f"--partitions {self.partitions} " in str(refused.value)
        assert f"--partitions {self.partitions + 2}" not in str(refused.value)

    async def test_topics_that_have_grown_are_refused_whatever_number_is_said(self, log: Log) -> None:
        """As after an operator's ``kafka-topics --alter``: the record says what the topics were made with."""
        topics = self.unmade()
        await log.create_topics(topics.specs([], self.partitions + 2))
        await log.append([encode_made(topics, self.partitions)])
        for said in (self.partitions, self.partitions + 2):
            with pytest.raises(TopicMismatch) as refused:
                await prepare(log, topics, [], said, create=True)
            assert "fresh namespace" in str(refused.value)
            assert f"start with {self.partitions + 2}" not in str(refused.value)

    async def test_a_namespace_without_its_record_is_only_accepted_where_its_decisions_stand(self, log: Log) -> None:
        topics = self.unmade()
        keys = [b"order-checkout/A-%d" % number for number in range(40)]
        before = self.partitions - 1
        await log.create_topics(topics.specs([], self.partitions))
        await log.append([out(topics.history, key, b"{}", partition_of(key, before)) for key in keys])
        with pytest.raises(TopicMismatch, match="saga topics create"):
            await prepare(log, topics, [], self.partitions, create=False)
        with pytest.raises(TopicMismatch, match="was not created with"):
            await prepare(log, topics, [], self.partitions, create=True)
        sound = self.unmade()
        await log.create_topics(sound.specs([], self.partitions))
        await log.append([out(sound.history, key, b"{}", partition_of(key, self.partitions)) for key in keys])
        await prepare(log, sound, [], self.partitions, create=True)
        made = await read_made(log, sound)
        assert made is not None
        assert made[:3] == (LOG_FORMAT, sound.namespace, self.partitions)

    @pytest.mark.parametrize("gone", ["inputs", "state", "history", "events", "dead"])
    async def test_a_topic_that_is_gone_is_not_made_anew(self, log: Log, gone: str) -> None:
        topics = self.unmade()
        missing = f"{topics.namespace}.{gone}"
        await log.create_topics([spec for spec in topics.specs([], self.partitions) if spec.name != missing])
        await log.append([encode_made(topics, self.partitions)])
        for create in (True, False):
            with pytest.raises(TopicMismatch, match=rf"{missing} is gone.*restore"):
                await prepare(log, topics, [], self.partitions, create=create)
        assert await log.partitions(missing) == 0

    async def test_state_is_not_made_anew_where_there_is_history_and_no_record(self, log: Log) -> None:
        topics = self.unmade()
        await log.create_topics(
            [s for s in topics.specs([], self.partitions) if s.name not in (topics.state, topics.made)]
        )
        await log.append([out(topics.history, b"order-checkout/A-1")])
        with pytest.raises(TopicMismatch, match=f"{topics.state} is gone"):
            await prepare(log, topics, [], self.partitions, create=True)

    async def test_half_of_the_topics_of_a_namespace_that_never_worked_are_completed(self, log: Log) -> None:
        topics = self.unmade()
        await log.create_topics(topics.specs([], self.partitions)[:2])
        await prepare(log, topics, [], self.partitions, create=True)
        await prepare(log, topics, [], self.partitions, create=False)

    @pytest.mark.parametrize(
        "record",
        [
            (b"nonsense", CorruptRecord, "not the record of a namespace"),
            (b'{"format":1,"namespace":"x"}', CorruptRecord, "partitions"),
            (b'{"format":1,"namespace":"x","partitions":true}', CorruptRecord, "not the record"),
            (b'{"format":99,"namespace":"x","partitions":4}', TopicMismatch, "deploy the newer release"),
            (b'{"format":1,"namespace":"other","partitions":4}', TopicMismatch, "copied"),
        ],
    )
    async def test_a_record_that_is_not_ours_stops_everybody(
        self, log: Log, record: tuple[bytes, type[Exception], str]
    ) -> None:
        value, error, why = record
        topics = self.unmade()
        await log.create_topics(topics.specs([], self.partitions))
        await log.append([Outgoing(topics.made, MADE_KEY, value)])
        with pytest.raises(error, match=why):
            await prepare(log, topics, [], self.partitions, create=True)
